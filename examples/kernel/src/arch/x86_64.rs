//! x86-64 on QEMU's `q35`: started by the PVH protocol, other CPUs by INIT and SIPI.
use core::arch::asm;

use crate::cpus::{self, CPUS};
use crate::memory::Map;

mod apic;
mod board;
mod boot;
pub mod flush;
mod pvh;
mod tables;
mod traps;

pub const NAME: &str = "x86_64";
/// The tables of the start show 4 GiB; memory ends below the devices.
pub const MEMORY_END: u64 = 3 << 30;
/// Page 0 is absent: a null pointer faults.
pub const MEMORY: (u64, u64) = (MEMORY_START, MEMORY_END);
pub const MEMORY_START: u64 = 0x1000;
/// How many frames of it are counted: 128 MiB.
pub const FRAMES: usize = 1 << 15;
/// Where programs lie, and where the part of every root ends that shows the kernel.
pub const USER: u64 = 0x80_0000_0000;
pub const KERNEL_END: u64 = 0x80_0000_0000;
/// The interrupt controller.
pub const DEVICES: [(u64, u64); 1] = [(0xFEE0_0000, 0xFEE0_1000)];
pub const REACH: u64 = 1 << 47;
/// Of each CPU.
pub const SHOOTDOWNS: u64 = 300;
pub type Format = hectare_paging::format::X86_64<4>;

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

#[unsafe(no_mangle)]
extern "C" fn first_cpu(start_info: usize) -> ! {
    // SAFETY: number 0 is the first CPU's, and no other runs yet.
    unsafe { tables::load(0) };
    // SAFETY: all vectors that can come have a gate.
    unsafe { apic::enable() };
    crate::kernel(start_info)
}

#[unsafe(no_mangle)]
extern "C" fn other_cpu(cpu: usize) -> ! {
    // SAFETY: the first CPU gave this number to this CPU alone.
    unsafe { tables::load(cpu) };
    // SAFETY: as above.
    unsafe { apic::enable() };
    cpus::serve()
}

/// In a loop that waits for another CPU.
pub fn relax() {
    core::hint::spin_loop();
}

/// Waits until `ready`.
pub fn idle(ready: impl Fn() -> bool) {
    while !ready() {
        relax();
    }
}

/// Nobody sleeps.
pub fn wake_all() {}

pub use board::{Console, exit};
pub use tables::cpu;
pub use traps::{probe_read, probe_write, run_user};

pub fn memory_map(start_info: usize) -> Map {
    pvh::memory_map(start_info, ((&raw const image_start).addr(), (&raw const image_end).addr()))
}

/// Starts the CPU with this APIC number, by INIT and SIPI.
pub fn start_cpu(_: usize, cpu: usize) -> bool {
    if cpu >= CPUS {
        return false;
    }
    // SAFETY: one CPU at a time is started: the one before has left the trampoline.
    let page = unsafe { boot::trampoline(cpu) };
    apic::start(cpu as u32, page);
    true
}

/// This CPU translates by the tables at `root` from now on.
///
/// # Safety
/// They show what this CPU uses.
pub unsafe fn load_root(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack)) };
}

/// Back to the tables of the start.
///
/// # Safety
/// They show what this CPU uses.
pub unsafe fn leave_root() {
    // SAFETY: the caller's promise.
    unsafe { load_root(boot::tables()) };
}
