//! What differs between machines. Each has: `NAME`, `MEMORY_END` (the first address that is never memory), `Console`,
//! `exit`, `cpu` (this CPU's number), `memory_map`, `start_cpu`.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "riscv64")]
pub use riscv64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
