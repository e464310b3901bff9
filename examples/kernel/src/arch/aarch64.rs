//! AArch64 on QEMU's `virt` board, at EL1, with PSCI and semihosting.
use core::arch::{asm, global_asm};

use hectare_paging::format::aarch64::MAIR;

use crate::cpus::{self, CPUS};
use crate::device_tree;
use crate::memory::Map;

mod board;
pub mod flush;
mod traps;

pub use board::{Console, exit};
pub use traps::{probe_read, probe_write, run_user};

pub const NAME: &str = "aarch64";
/// Memory begins at 1 GiB; the board of this run has less than 1 GiB of it.
pub const MEMORY_END: u64 = 1 << 31;
pub const MEMORY: (u64, u64) = (MEMORY_START, MEMORY_END);
pub const MEMORY_START: u64 = 1 << 30;
/// How many frames of it are counted: 128 MiB.
pub const FRAMES: usize = 1 << 15;
/// Where programs lie, and where the part of every root ends that shows the kernel.
pub const USER: u64 = 0x10_0000_0000;
pub const KERNEL_END: u64 = 0x1_0000_0000;
/// The serial port.
pub const DEVICES: [(u64, u64); 1] = [(0x0900_0000, 0x0900_1000)];
pub const REACH: u64 = 1 << 39;
/// Of each CPU.
pub const SHOOTDOWNS: u64 = 300;
pub type Format = hectare_paging::format::AArch64<12, 39>;
const STACK: usize = 65536;
/// For an ELF image the board puts the device tree at the start of memory.
const TREE: usize = 0x4000_0000;

// x0 is our number on the CPUs that PSCI starts; the first one runs `start`.
global_asm!(
    ".section .boot, \"ax\"",
    ".global start",
    "start:",
    "adrp x0, bss_start",
    "adrp x1, bss_end",
    "1: cmp x0, x1",
    "b.hs 2f",
    "stp xzr, xzr, [x0], #16",
    "b 1b",
    "2: mov x0, #0",
    ".global start_other",
    "start_other:",
    "msr tpidr_el1, x0",
    "mov x1, #(3 << 20)", // floating point is permitted: the compiler uses its registers
    "msr cpacr_el1, x1",
    "isb",
    "adrp x1, STACKS",
    "add x1, x1, :lo12:STACKS",
    "add x2, x0, #1",
    "add x1, x1, x2, lsl #{log2}",
    "mov sp, x1",
    "bl enter",
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

/// Tables before there is memory for others: 1 GiB of devices, 1 GiB of memory, each at its own address.
static BOOT_ROOT: BootRoot = BootRoot({
    let mut entries = [0; 512];
    entries[0] = DEVICE | ACCESSED | BLOCK;
    entries[1] = 1 << 30 | NORMAL | SHAREABLE | ACCESSED | BLOCK;
    entries
});

#[repr(align(4096))]
#[expect(dead_code, reason = "read by the CPUs alone")]
struct BootRoot([u64; 512]);

const BLOCK: u64 = 1;
const NORMAL: u64 = 0 << 2;
const DEVICE: u64 = 4 << 2;
const SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;

#[unsafe(no_mangle)]
extern "C" fn enter(cpu: usize) -> ! {
    // SAFETY: the tables show devices and memory where they are.
    unsafe { translate((&raw const BOOT_ROOT).addr()) };
    traps::load();
    if cpu == 0 { crate::kernel(TREE) } else { cpus::serve() }
}

/// Switches translation on: 39-bit addresses, 4 KiB pages, and the memory attributes of the format.
///
/// # Safety
/// The tables show what this CPU uses.
unsafe fn translate(root: usize) {
    let features: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, id_aa64mmfr0_el1", out(reg) features, options(nomem, nostack)) };
    // T0SZ 25, write-back and inner shareable walks, no TTBR1, as many physical bits as there are.
    let control = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | (features & 7) << 32;
    // SAFETY: the caller's promise; MMU, caches on.
    unsafe {
        asm!(
            "msr mair_el1, {attributes}",
            "msr tcr_el1, {control}",
            "msr ttbr0_el1, {root}",
            "isb",
            "tlbi vmalle1",
            "dsb ish",
            "isb",
            "mrs {scratch}, sctlr_el1",
            "orr {scratch}, {scratch}, {on}",
            "msr sctlr_el1, {scratch}",
            "isb",
            attributes = in(reg) MAIR,
            control = in(reg) control,
            root = in(reg) root,
            scratch = out(reg) _,
            on = in(reg) 0x1005_u64,
        )
    };
}

/// This CPU translates by the tables at `root` from now on.
///
/// # Safety
/// They show what this CPU uses.
pub unsafe fn load_root(root: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("dsb ishst", "msr ttbr0_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) root, options(nostack))
    };
}

/// Back to the tables of the start.
///
/// # Safety
/// They show what this CPU uses.
pub unsafe fn leave_root() {
    // SAFETY: the caller's promise.
    unsafe { load_root((&raw const BOOT_ROOT).addr() as u64) };
}

/// In a loop that waits for another CPU.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Waits until `ready`.
pub fn idle(ready: impl Fn() -> bool) {
    while !ready() {
        relax();
    }
}

/// Nobody sleeps.
pub fn wake_all() {}

/// This CPU's number.
#[inline(always)]
pub fn cpu() -> usize {
    let number: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

pub fn memory_map(tree: usize) -> Map {
    device_tree::memory_map(tree, ((&raw const image_start).addr(), (&raw const image_end).addr()))
}

/// Starts CPU number `cpu` of the tree (PSCI, CPU_ON).
pub fn start_cpu(tree: usize, cpu: usize) -> bool {
    let tree = device_tree::at(tree);
    let Some(affinity) = tree.cpus().nth(cpu).map(|node| node.ids().first()) else { return false };
    let error: isize;
    // SAFETY: a call of the firmware may change x0 to x17.
    unsafe {
        asm!(
            "hvc #0",
            inout("x0") 0xC400_0003_usize => error,
            inout("x1") affinity => _,
            inout("x2") start_other as *const () as usize => _,
            inout("x3") cpu => _,
            clobber_abi("C"),
        )
    };
    error == 0
}
