//! RISC-V of 32 and of 64 bits on QEMU's `virt` board: no firmware, so that the program sets the machine up in machine
//! mode and goes on in supervisor mode.
use core::arch::{asm, global_asm};

use hectare_core::{AccessKind, PhysAddr};
#[cfg(target_arch = "riscv64")]
use hectare_paging::format::{RiscV, riscv};
#[cfg(target_arch = "riscv32")]
use hectare_paging::format::{Sv32, riscv};

use super::{Fault, Machine};
use crate::check::Checks;

#[path = "../../../kernel/src/arch/riscv64/board.rs"]
mod board;

pub use board::{Console, exit};

/// 64 MiB.
pub const MEMORY: (u64, u64) = (0x8000_0000, 0x8400_0000);
/// The finisher and the serial port.
pub const DEVICES: [(u64, u64); 2] = [(0x10_0000, 0x10_1000), (0x1000_0000, 0x1000_1000)];
/// `c.li a0, 0`, `c.jr ra`.
pub const RETURN: u32 = 0x8082_4501;
/// `sfence.vma` of an address may leave the upper levels of others.
pub const PAGE_DROPS_TABLES: bool = false;
const STACK: usize = 65536;

// A probe names in t0 the instruction that may fault; the trap goes on where the probe was called.
global_asm!(
    ".section .boot, \"ax\"",
    ".global start",
    "start:",
    "la t0, bss_start",
    "la t1, bss_end",
    "1: bgeu t0, t1, 2f",
    "sw zero, 0(t0)",
    "addi t0, t0, 4",
    "j 1b",
    "2: la sp, STACK_PLACE",
    "li t0, {stack}",
    "add sp, sp, t0",
    // Old machines have no such register: the trap skips the instruction.
    "la t0, skip",
    "csrw mtvec, t0",
    ".if {wide}",
    "li t0, 3 << 61", // menvcfg: ADUE, PBMTE
    "csrw 0x30A, t0",
    ".else",
    "li t0, 1 << 29", // menvcfgh: ADUE
    "csrw 0x31A, t0",
    ".endif",
    "la t0, machine_trap",
    "csrw mtvec, t0",
    "li t0, -1", // all of memory for supervisor mode
    "csrw pmpaddr0, t0",
    "li t0, 0x1F",
    "csrw pmpcfg0, t0",
    "li t0, 0xFFFF", // and its traps
    "csrw medeleg, t0",
    "la t0, trap",
    "csrw stvec, t0",
    "li t0, 0x1800",
    "csrc mstatus, t0",
    "li t0, 0x0800",
    "csrs mstatus, t0",
    "la t0, 3f",
    "csrw mepc, t0",
    "mret",
    "3: call {program}",
    ".balign 4",
    "skip:",
    "csrr t1, mepc",
    "addi t1, t1, 4",
    "csrw mepc, t1",
    "mret",
    ".balign 4",
    "machine_trap:",
    "csrr a0, mcause",
    "csrr a1, mtval",
    "csrr a2, mepc",
    "j {unexpected}",
    ".balign 4",
    "trap:",
    "csrr t1, sepc",
    "bne t1, t0, 1f",
    "csrw sepc, ra",
    "li a0, 1",
    "sret",
    "1: csrr a0, scause",
    "csrr a1, stval",
    "mv a2, t1",
    "j {unexpected}",
    ".text",
    ".global probe_read, probe_write, probe_execute",
    "probe_read:",
    "la t0, 1f",
    "1: lw a0, 0(a0)",
    "sw a0, 0(a1)",
    "li a0, 0",
    "ret",
    "probe_write:",
    "lw a1, 0(a1)",
    "la t0, 1f",
    "1: sw a1, 0(a0)",
    "li a0, 0",
    "ret",
    "probe_execute:",
    "mv t0, a0",
    "jr t0",
    stack = const STACK,
    wide = const size_of::<usize>() / 8,
    program = sym begin,
    unexpected = sym unexpected,
);

unsafe extern "C" {
    fn probe_read(address: usize, value: *mut u32) -> usize;
    fn probe_write(address: usize, value: *mut u32) -> usize;
    fn probe_execute(address: usize) -> usize;
}

#[repr(align(4096))]
#[expect(dead_code, reason = "used by the stack pointer alone")]
struct Stack([u8; STACK]);

#[unsafe(no_mangle)]
static mut STACK_PLACE: Stack = Stack([0; STACK]);

extern "C" fn begin() -> ! {
    crate::program()
}

extern "C" fn unexpected(cause: usize, address: usize, at: usize) -> ! {
    panic!("trap {cause:#x} at {at:#x} for address {address:#x}")
}

#[cfg(target_arch = "riscv32")]
pub fn formats(checks: &mut Checks) {
    crate::live::run::<Sv32<{ riscv::SVADU }>>(checks);
}

#[cfg(target_arch = "riscv64")]
pub fn formats(checks: &mut Checks) {
    const EXTENSIONS: u8 = riscv::SVADU | riscv::SVNAPOT | riscv::SVPBMT;
    crate::live::run::<RiscV<3, EXTENSIONS>>(checks);
    crate::live::run::<RiscV<4, { riscv::SVADU }>>(checks);
    crate::live::run::<RiscV<5, EXTENSIONS>>(checks);
}

#[cfg(target_arch = "riscv32")]
impl<const OPTIONS: u8> Machine for Sv32<OPTIONS> {
    unsafe fn load(root: PhysAddr) -> bool {
        // SAFETY: the caller's promise.
        unsafe { set_satp(1 << 31 | (root.value() >> 12) as usize) }
    }
}

#[cfg(target_arch = "riscv64")]
impl<const LEVELS: usize, const OPTIONS: u8> Machine for RiscV<LEVELS, OPTIONS> {
    unsafe fn load(root: PhysAddr) -> bool {
        // SAFETY: the caller's promise. Mode 8 is Sv39, 9 Sv48, 10 Sv57.
        unsafe { set_satp((5 + LEVELS) << 60 | (root.value() >> 12) as usize) }
    }
}

/// A mode that the CPU has not is not written. Whether it was.
///
/// # Safety
/// The tables show the program and its devices where they are.
unsafe fn set_satp(value: usize) -> bool {
    let found: usize;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("csrw satp, {0}", "sfence.vma", "csrr {1}, satp", in(reg) value, lateout(reg) found, options(nostack))
    };
    found == value
}

/// # Safety
/// As for any tables.
pub unsafe fn leave() {
    // SAFETY: no translation.
    let _ = unsafe { set_satp(0) };
}

/// `sstatus.SUM` on, or off.
pub fn open(key: bool) {
    // SAFETY: nothing but the probes touches pages of the user.
    unsafe {
        if key {
            asm!("csrs sstatus, {}", in(reg) 1 << 18, options(nostack))
        } else {
            asm!("csrc sstatus, {}", in(reg) 1 << 18, options(nostack))
        }
    };
}

pub fn read(address: u64) -> Result<u32, Fault> {
    let mut value = 0;
    // SAFETY: a fault goes on behind the probe; the caller answers for what is mapped.
    let faulted = unsafe { probe_read(address as usize, &mut value) };
    if faulted == 0 { Ok(value) } else { Err(fault()) }
}

pub fn write(address: u64, mut value: u32) -> Result<(), Fault> {
    // SAFETY: as for `read`.
    let faulted = unsafe { probe_write(address as usize, &mut value) };
    if faulted == 0 { Ok(()) } else { Err(fault()) }
}

/// Calls the function that pages begin with.
pub fn execute(address: u64) -> Result<(), Fault> {
    // SAFETY: as for `read`; the function does nothing.
    let faulted = unsafe { probe_execute(address as usize) };
    if faulted == 0 { Ok(()) } else { Err(fault()) }
}

/// What the last trap was.
fn fault() -> Fault {
    let (cause, address): (usize, usize);
    // SAFETY: reads registers.
    unsafe {
        asm!("csrr {}, scause", "csrr {}, stval", out(reg) cause, out(reg) address, options(nomem, nostack))
    };
    let kind = match cause {
        12 => AccessKind::Execute,
        13 => AccessKind::Read,
        15 => AccessKind::Write,
        _ => panic!("trap {cause:#x} for address {address:#x}"),
    };
    // Addresses of 32 bits have no sign here.
    Fault { address: address as u64, kind, present: None }
}

/// `sfence.vma` orders the stores before it by itself.
pub fn begin_flush() {}

pub fn drop_page(address: u64) {
    // SAFETY: drops a translation.
    unsafe { asm!("sfence.vma {}, zero", in(reg) address as usize, options(nostack)) };
}

pub fn drop_all(_global: bool) {
    // SAFETY: drops translations.
    unsafe { asm!("sfence.vma", options(nostack)) };
}

/// No root is kept beside the caches.
pub fn reload() {}

pub fn end_flush() {}
