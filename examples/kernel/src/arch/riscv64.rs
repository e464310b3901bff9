//! RISC-V on QEMU's `virt` board, in supervisor mode behind OpenSBI.
use core::arch::{asm, global_asm};

use crate::cpus::{self, CPUS};
use crate::device_tree;
use crate::memory::Map;

mod board;
pub mod flush;
mod traps;

pub use board::{Console, exit};
pub use traps::{probe_read, probe_write, run_user};

pub const NAME: &str = "riscv64";
/// Memory begins at 2 GiB; the board of this run has less than 2 GiB of it.
pub const MEMORY_END: u64 = 1 << 32;
pub const MEMORY: (u64, u64) = (MEMORY_START, MEMORY_END);
pub const MEMORY_START: u64 = 1 << 31;
/// How many frames of it are counted: 128 MiB.
pub const FRAMES: usize = 1 << 15;
/// Where programs lie, and where the part of every root ends that shows the kernel.
pub const USER: u64 = 0x10_0000_0000;
pub const KERNEL_END: u64 = 0x1_0000_0000;
/// The finisher and the serial port.
pub const DEVICES: [(u64, u64); 2] = [(0x10_0000, 0x10_1000), (0x1000_0000, 0x1000_1000)];
pub const REACH: u64 = 1 << 38;
/// Of each CPU; few, because the firmware waits for all others each time, and a loaded host runs one or two of them.
pub const SHOOTDOWNS: u64 = 10;
pub type Format = hectare_paging::format::Sv39;
const STACK: usize = 65536;

// `tp` is this CPU's number. a0: the hart, a1: the device tree on the first one, our number on the others.
global_asm!(
    ".section .boot, \"ax\"",
    ".global start",
    "start:",
    "la t0, bss_start",
    "la t1, bss_end",
    "1: bgeu t0, t1, 2f",
    "sd zero, 0(t0)",
    "addi t0, t0, 8",
    "j 1b",
    "2: li tp, 0",
    "la sp, STACKS",
    "li t0, {stack}",
    "add sp, sp, t0",
    "call first_cpu",
    ".global start_other",
    "start_other:",
    "mv tp, a1",
    "la sp, STACKS",
    "addi t0, a1, 1",
    "slli t0, t0, {log2}",
    "add sp, sp, t0",
    "call other_cpu",
    stack = const STACK,
    log2 = const STACK.trailing_zeros(),
);

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
    fn start_other();
}

#[unsafe(no_mangle)]
static mut STACKS: Stacks = Stacks([[0; STACK]; CPUS]);

#[repr(align(4096))]
#[expect(dead_code, reason = "used by the stack pointers alone")]
struct Stacks([[u8; STACK]; CPUS]);

/// The hart that the firmware chose to begin with.
static mut FIRST_HART: usize = 0;

#[unsafe(no_mangle)]
extern "C" fn first_cpu(hart: usize, tree: usize) -> ! {
    // SAFETY: no other CPU runs yet.
    unsafe { (&raw mut FIRST_HART).write(hart) };
    // SAFETY: the start code set `tp`.
    unsafe { traps::load() };
    crate::kernel(tree)
}

#[unsafe(no_mangle)]
extern "C" fn other_cpu() -> ! {
    // SAFETY: the start code set `tp`.
    unsafe { traps::load() };
    cpus::serve()
}

/// In a loop that waits for another CPU.
pub fn relax() {
    core::hint::spin_loop();
}

/// Sleeps until `ready`, which is looked at after each message. QEMU's thread for this hart sleeps too, so that those with
/// work are faster.
pub fn idle(ready: impl Fn() -> bool) {
    // SAFETY: a message wakes this hart, but is no trap: interrupts of the kernel are off as a whole.
    unsafe { asm!("csrs sie, {}", in(reg) SOFTWARE, options(nostack)) };
    loop {
        // SAFETY: takes the message back; one that comes later is seen by `wfi`.
        unsafe { asm!("csrc sip, {}", in(reg) SOFTWARE, options(nostack)) };
        if ready() {
            break;
        }
        // SAFETY: waits.
        unsafe { asm!("wfi", options(nostack)) };
    }
    // SAFETY: as before: programs take interrupts that are enabled here.
    unsafe { asm!("csrc sie, {}", in(reg) SOFTWARE, options(nostack)) };
}

/// Wakes every CPU that sleeps in `idle` (SBI, interrupts between harts).
pub fn wake_all() {
    sbi(0x73_5049, 0, [0, usize::MAX, 0, 0, 0]);
}

/// The software interrupt of the supervisor.
const SOFTWARE: usize = 1 << 1;

/// This CPU's number.
#[inline(always)]
pub fn cpu() -> usize {
    let number: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, tp", out(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

pub fn memory_map(tree: usize) -> Map {
    device_tree::memory_map(tree, ((&raw const image_start).addr(), (&raw const image_end).addr()))
}

/// Starts CPU number `cpu` of the tree, the first hart not counted (SBI, hart state management).
pub fn start_cpu(tree: usize, cpu: usize) -> bool {
    // SAFETY: written before other CPUs run.
    let first = unsafe { (&raw const FIRST_HART).read() };
    let tree = device_tree::at(tree);
    let mut others = tree.cpus().map(|node| node.ids().first()).filter(|hart| *hart != first);
    let Some(hart) = others.nth(cpu - 1) else { return false };
    sbi(0x48_534D, 0, [hart, start_other as *const () as usize, cpu, 0, 0]) == 0
}

/// This CPU translates by the tables at `root` from now on: mode 8, Sv39.
///
/// # Safety
/// They show what this CPU uses.
pub unsafe fn load_root(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("csrw satp, {}", "sfence.vma", in(reg) 8 << 60 | root >> 12, options(nostack)) };
}

/// Back to no translation.
///
/// # Safety
/// This CPU uses no address that is not its memory's own.
pub unsafe fn leave_root() {
    // SAFETY: the caller's promise.
    unsafe { asm!("csrw satp, zero", "sfence.vma", options(nostack)) };
}

/// A call of the firmware: extension, function, arguments. Returns its error, 0 if there is none.
pub fn sbi(extension: usize, function: usize, arguments: [usize; 5]) -> isize {
    let error;
    // SAFETY: an environment call changes a0 and a1 only.
    unsafe {
        asm!(
            "ecall",
            inout("a0") arguments[0] => error,
            inout("a1") arguments[1] => _,
            in("a2") arguments[2],
            in("a3") arguments[3],
            in("a4") arguments[4],
            in("a6") function,
            in("a7") extension,
        )
    };
    error
}
