//! What differs between machines. Each has: `NAME`, `MEMORY_END` (the first address that is never memory), `Console`,
//! `exit`, `relax`, `idle` and `wake_all`, `cpu` (this CPU's number), `memory_map`, `start_cpu`; for paging `Format`, `MEMORY` and `DEVICES` (what the
//! kernel's tables show), `REACH` (the first address beyond the lower half), `load_root`, `leave_root`, `flush`,
//! `probe_read`, `probe_write`, `run_user`.

unsafe extern "C" {
    static text_start: u8;
    static text_end: u8;
    static user_start: u8;
    static user_read: u8;
    static user_write: u8;
}

/// Addresses of programs.
pub struct UserCode {
    pub start: u64,
    pub read: u64,
    pub write: u64,
}

/// The part of the image that is executed, programs included.
pub fn text() -> (u64, u64) {
    ((&raw const text_start).addr() as u64, (&raw const text_end).addr() as u64)
}

/// Where the programs lie in the image.
pub fn user_code() -> UserCode {
    UserCode {
        start: (&raw const user_start).addr() as u64,
        read: (&raw const user_read).addr() as u64,
        write: (&raw const user_write).addr() as u64,
    }
}

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
