//! What differs between machines. Each has: `Console`, `exit`; `MEMORY` (what is there of it) and `DEVICES`; `RETURN` (a
//! function, as a word, that returns zero); `formats` (runs each format that the machine has), `leave` (the tables of a
//! format are used no more), `open` (the
//! key to pages of the user), `read`, `write`, `execute`; for flushes `begin_flush`, `drop_page`, `drop_all`, `reload`,
//! `end_flush`.

use hectare_core::{AccessKind, PhysAddr};
use hectare_paging::TableFormat;

/// An access that the MMU refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub address: u64,
    pub kind: AccessKind,
    /// Whether a page is there; `None` where the machine does not say.
    pub present: Option<bool>,
}

/// A format that this machine can use.
pub trait Machine: TableFormat {
    /// The MMU uses the tables at `root` from now on, and nothing that it cached before; or it has no such format, and
    /// nothing changes.
    ///
    /// # Safety
    /// They show the program and its devices where they are.
    unsafe fn load(root: PhysAddr) -> bool;
}

unsafe extern "C" {
    static image_end: u8;
}

/// The first address behind the program.
pub fn end_of_image() -> u64 {
    (&raw const image_end).addr() as u64
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
mod riscv;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
pub use riscv::*;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub use x86::*;
