//! Tasks in user mode on a stack of their own, and what ends them: an environment call, or a fault.
//!
//! ```text
//!   kernel (machine mode): saved registers below sp, sp in mscratch
//!      │ mret                          ▲ trap from the user mode: sp, registers, `ret` to the kernel's caller
//!      └──► task (user mode) ── ecall, or a fault
//! ```
use core::arch::global_asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::tasks::{Ending, Entry};

// A trap from machine mode is a probe's: its cause is noted, its instruction of four bytes skipped. Only t0 and t1 are
// used, which the probe says are lost. A trap from the user mode ends a task.
global_asm!(
    ".if {bits} == 64",
    ".macro save register, place",
    "sd \\register, \\place * 8(sp)",
    ".endm",
    ".macro restore register, place",
    "ld \\register, \\place * 8(sp)",
    ".endm",
    ".macro note register, place",
    "sd \\register, 0(\\place)",
    ".endm",
    ".else",
    ".macro save register, place",
    "sw \\register, \\place * 4(sp)",
    ".endm",
    ".macro restore register, place",
    "lw \\register, \\place * 4(sp)",
    ".endm",
    ".macro note register, place",
    "sw \\register, 0(\\place)",
    ".endm",
    ".endif",
    ".macro saved action",
    "\\action ra, 0",
    "\\action s0, 1",
    "\\action s1, 2",
    "\\action s2, 3",
    "\\action s3, 4",
    "\\action s4, 5",
    "\\action s5, 6",
    "\\action s6, 7",
    "\\action s7, 8",
    "\\action s8, 9",
    "\\action s9, 10",
    "\\action s10, 11",
    "\\action s11, 12",
    ".endm",
    ".balign 4",
    ".global trap",
    "trap:",
    "csrr t0, mcause",
    "la t1, CAUSE",
    "note t0, t1",
    "csrr t0, mstatus",
    "srli t0, t0, 11",
    "andi t0, t0, 3",
    "beqz t0, 1f",
    "csrr t0, mepc",
    "addi t0, t0, 4",
    "csrw mepc, t0",
    "mret",
    "1: csrr t0, mtval",
    "la t1, ADDRESS",
    "note t0, t1",
    "csrr sp, mscratch",
    "saved restore",
    "addi sp, sp, 16 * {bits} / 8",
    "ret",
    ".global run_task",
    "run_task:", // a0 entry, a1 memory, a2 argument, a3 end of the stack
    "addi sp, sp, -16 * {bits} / 8",
    "saved save",
    "csrw mscratch, sp",
    "csrw mepc, a0",
    "li t0, 0x1800",
    "csrc mstatus, t0", // MPP: the user mode
    "mv sp, a3",
    "mv a0, a1",
    "mv a1, a2",
    "la ra, 2f",
    "mret",
    ".balign 4",
    "2: ecall",
    bits = const usize::BITS,
);

unsafe extern "C" {
    fn run_task(entry: Entry, memory: *mut u32, argument: usize, stack_end: usize) -> usize;
}

#[unsafe(no_mangle)]
pub static CAUSE: AtomicUsize = AtomicUsize::new(0);
#[unsafe(no_mangle)]
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Runs a task until it ends by itself or by a fault.
///
/// # Safety
/// The regions in force leave the task its memory and its code, and nothing that others need unharmed.
pub unsafe fn run(entry: Entry, memory: *mut u32, argument: usize, stack_end: usize) -> Ending {
    // SAFETY: the kernel's registers and stack are saved and restored there; the caller answers for what the task does.
    let result = unsafe { run_task(entry, memory, argument, stack_end) };
    // Causes: volume II, table 3.6.
    match CAUSE.load(Relaxed) {
        8 => Ending::Done(result),
        5 | 7 => Ending::DataFault(ADDRESS.load(Relaxed)),
        1 => Ending::FetchFault,
        _ => Ending::Other,
    }
}
