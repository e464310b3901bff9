//! The registers themselves: the only place of this crate that touches a machine.
//!
//! | feature | machine | module |
//! |---|---|---|
//! | `mpu-registers` | Cortex-M | `mpu` |
//! | `pmp-registers` | RISC-V | `pmp` |

#[cfg(feature = "mpu-registers")]
pub mod mpu;
#[cfg(feature = "pmp-registers")]
pub mod pmp;
