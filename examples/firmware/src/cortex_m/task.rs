//! Unprivileged tasks on a stack of their own, and what ends them: a service call, or a fault.
//!
//! ```text
//!   kernel (MSP): saved registers, and a frame as if an exception had interrupted `resume`
//!      │ CONTROL = unprivileged, PSP          ▲ "return" from the task's last exception: to that frame
//!      └──► task (PSP) ── SVC, or a fault ────┘
//! ```
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::tasks::{Ending, Entry};

// A fault of a probe (on the main stack): noted, and its instruction of four bytes skipped; the frame's seventh word is
// the return address. A fault of a task (on the process stack), or its service call: the kernel goes on.
global_asm!(
    ".syntax unified",
    ".thumb",
    ".global memory_fault",
    ".type memory_fault, %function",
    ".thumb_func",
    "memory_fault:",
    "ldr r0, =0xE000ED28", // CFSR
    "ldr r1, [r0]",
    "ldr r2, [r0, #12]", // MMFAR
    "str r1, [r0]",      // writing ones clears
    "ldr r3, =FAULT_STATUS",
    "str r1, [r3]",
    "ldr r3, =FAULT_ADDRESS",
    "str r2, [r3]",
    "tst lr, #4",
    "bne leave_task",
    "ldr r1, [sp, #24]",
    "adds r1, #4",
    "str r1, [sp, #24]",
    "bx lr",
    ".pool",
    ".global service_call",
    ".type service_call, %function",
    ".thumb_func",
    "service_call:",
    "mrs r0, psp",
    "ldr r0, [r0]", // the task's r0
    "leave_task:",
    "str r0, [sp]", // the kernel's r0
    "movs r1, #0",
    "msr control, r1",
    "isb",
    "bic lr, lr, #4", // to the main stack
    "bx lr",
    ".global run_task",
    ".type run_task, %function",
    ".thumb_func",
    "run_task:", // r0 entry, r1 memory, r2 argument, r3 end of the stack
    "push {{r3-r11, lr}}",
    "sub sp, #32",
    "ldr r4, =resume",
    "str r4, [sp, #24]",
    "mov r4, #0x01000000", // xPSR: Thumb
    "str r4, [sp, #28]",
    "msr psp, r3",
    "mov r4, r0",
    "mov r0, r1",
    "mov r1, r2",
    "movs r2, #3", // unprivileged, on the process stack
    "msr control, r2",
    "isb",
    "blx r4",
    "svc 0",
    ".balign 4",
    "resume:",
    "pop {{r3-r11, pc}}",
    ".pool",
);

unsafe extern "C" {
    pub fn memory_fault();
    pub fn service_call();
    fn run_task(entry: Entry, memory: *mut u32, argument: usize, stack_end: usize) -> usize;
}

#[unsafe(no_mangle)]
pub static FAULT_STATUS: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static FAULT_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// Runs a task until it ends by itself or by a fault.
///
/// # Safety
/// The regions in force leave the task its memory and its code, and nothing that others need unharmed.
pub unsafe fn run(entry: Entry, memory: *mut u32, argument: usize, stack_end: usize) -> Ending {
    FAULT_STATUS.store(0, Relaxed);
    // SAFETY: the kernel's registers and stack are saved and restored there; the caller answers for what the task does.
    let result = unsafe { run_task(entry, memory, argument, stack_end) };
    match FAULT_STATUS.load(Relaxed) {
        0 => Ending::Done(result),
        // MMARVALID and DACCVIOL (ARMv7-M B3.2.15).
        status if status & 0x82 == 0x82 => Ending::DataFault(FAULT_ADDRESS.load(Relaxed) as usize),
        status if status & 1 != 0 => Ending::FetchFault,
        _ => Ending::Other,
    }
}
