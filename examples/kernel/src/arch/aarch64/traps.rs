//! Faults and programs.
//!
//! ```text
//!   kernel: fault at a probe ─► noted, on behind the probe
//!   program: any exception ─► `enter_user` returns to the kernel that called it
//! ```
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hectare_core::AccessKind;

use super::cpu;
use crate::cpus::CPUS;
use crate::paging::{Ending, Fault};

global_asm!(
    ".text",
    ".balign 2048",
    ".global exception_vectors",
    "exception_vectors:", // with SP_EL0: never
    ".rept 4",
    ".balign 128",
    "b unexpected",
    ".endr",
    ".balign 128", // in the kernel: synchronous, then what never comes
    "b from_kernel",
    ".rept 3",
    ".balign 128",
    "b unexpected",
    ".endr",
    ".balign 128", // in a program
    "b from_program",
    ".rept 7",
    ".balign 128",
    "b unexpected",
    ".endr",
    ".balign 128",
    "unexpected:",
    "mrs x0, esr_el1",
    "mrs x1, far_el1",
    "mrs x2, elr_el1",
    "b unexpected_trap",
    "from_kernel:",
    "sub sp, sp, #160",
    "stp x0, x1, [sp]",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x30, [sp, #144]",
    "mrs x0, esr_el1",
    "mrs x1, far_el1",
    "mrs x2, elr_el1",
    "bl kernel_trap",
    "msr elr_el1, x0",
    "ldp x0, x1, [sp]",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x30, [sp, #144]",
    "add sp, sp, #160",
    "eret",
    // From a program: its registers are of no use any more, but for x0.
    "from_program:",
    "mov x2, x0",
    "mrs x0, esr_el1",
    "mrs x1, far_el1",
    "bl user_trap",
    "ldp x19, x20, [sp]",
    "ldp x21, x22, [sp, #16]",
    "ldp x23, x24, [sp, #32]",
    "ldp x25, x26, [sp, #48]",
    "ldp x27, x28, [sp, #64]",
    "ldp x29, x30, [sp, #80]",
    "add sp, sp, #96",
    "ret",
    ".global enter_user",
    "enter_user:", // x0: where, x1 and x2: arguments
    "sub sp, sp, #96",
    "stp x19, x20, [sp]",
    "stp x21, x22, [sp, #16]",
    "stp x23, x24, [sp, #32]",
    "stp x25, x26, [sp, #48]",
    "stp x27, x28, [sp, #64]",
    "stp x29, x30, [sp, #80]",
    "msr elr_el1, x0",
    "mov x3, #0x3C0", // EL0, exceptions masked
    "msr spsr_el1, x3",
    "mov x0, x1",
    "mov x1, x2",
    "eret",
    // Programs: two arguments, a result, no stack.
    ".section .user, \"ax\"",
    ".global user_read, user_write",
    "user_read:",
    "ldr x0, [x0]",
    "svc #0",
    "user_write:",
    "str x1, [x0]",
    "mov x0, x1",
    "svc #0",
    ".text",
);

unsafe extern "C" {
    static exception_vectors: u8;
    fn enter_user(at: u64, first: u64, second: u64);
}

/// Makes this CPU's exceptions come here.
pub fn load() {
    // SAFETY: the table is aligned and whole.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) &raw const exception_vectors) };
}

/// Of each CPU: where to go on after a probe's fault, and the last exception: syndrome, address, a program's x0.
struct Last {
    recover: AtomicU64,
    syndrome: AtomicU64,
    address: AtomicU64,
    result: AtomicU64,
}

static LAST: [Last; CPUS] = [const {
    Last {
        recover: AtomicU64::new(0),
        syndrome: AtomicU64::new(0),
        address: AtomicU64::new(0),
        result: AtomicU64::new(0),
    }
}; CPUS];

fn note(syndrome: u64, address: u64, result: u64) -> &'static Last {
    let last = &LAST[cpu()];
    last.syndrome.store(syndrome, Relaxed);
    last.address.store(address, Relaxed);
    last.result.store(result, Relaxed);
    last
}

#[unsafe(no_mangle)]
extern "C" fn unexpected_trap(syndrome: u64, address: u64, at: u64) -> ! {
    panic!("unexpected exception {syndrome:#x} at {at:#x} for address {address:#x}")
}

#[unsafe(no_mangle)]
extern "C" fn kernel_trap(syndrome: u64, address: u64, at: u64) -> u64 {
    let last = note(syndrome, address, 0);
    let recover = last.recover.swap(0, Relaxed);
    assert!(
        last.fault().is_some() && recover != 0,
        "exception {syndrome:#x} at {at:#x} for address {address:#x}"
    );
    recover
}

#[unsafe(no_mangle)]
extern "C" fn user_trap(syndrome: u64, address: u64, result: u64) {
    note(syndrome, address, result);
}

impl Last {
    /// Classes of the syndrome register (D17.2.37): 0x20 and 0x21 fetches, 0x24 and 0x25 loads and stores, whose bit 6
    /// says which.
    fn fault(&self) -> Option<Fault> {
        let syndrome = self.syndrome.load(Relaxed);
        let kind = match syndrome >> 26 {
            0x20 | 0x21 => AccessKind::Execute,
            0x24 | 0x25 if syndrome & 1 << 6 != 0 => AccessKind::Write,
            0x24 | 0x25 => AccessKind::Read,
            _ => return None,
        };
        Some(Fault { address: self.address.load(Relaxed), kind })
    }
}

/// Reads eight bytes, or says what the fault was.
pub fn probe_read(address: u64) -> Result<u64, Fault> {
    let last = &LAST[cpu()];
    let (value, still): (u64, u64);
    // SAFETY: the caller answers for the address; a fault goes on at the label, with `recover` zero.
    unsafe {
        asm!(
            "adr {scratch}, 2f",
            "str {scratch}, [{recover}]",
            "ldr {value}, [{address}]",
            "2: ldr {scratch}, [{recover}]",
            "str xzr, [{recover}]",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = out(reg) value,
            scratch = out(reg) still,
        )
    };
    if still == 0 { last.fault().map_or(Ok(value), Err) } else { Ok(value) }
}

/// Writes eight bytes, or says what the fault was.
pub fn probe_write(address: u64, value: u64) -> Result<(), Fault> {
    let last = &LAST[cpu()];
    let still: u64;
    // SAFETY: as for `probe_read`.
    unsafe {
        asm!(
            "adr {scratch}, 2f",
            "str {scratch}, [{recover}]",
            "str {value}, [{address}]",
            "2: ldr {scratch}, [{recover}]",
            "str xzr, [{recover}]",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = in(reg) value,
            scratch = out(reg) still,
        )
    };
    if still == 0 { last.fault().map_or(Ok(()), Err) } else { Ok(()) }
}

/// Runs a program from `at` with two arguments until it calls or faults.
///
/// # Safety
/// What the tables in force let programs touch is the program's.
pub unsafe fn run_user(at: u64, first: u64, second: u64) -> Ending {
    // SAFETY: the kernel's registers and stack are kept; the caller answers for the program.
    unsafe { enter_user(at, first, second) };
    let last = &LAST[cpu()];
    match last.fault() {
        Some(fault) => Ending::Fault(fault),
        // 0x15: a call.
        None if last.syndrome.load(Relaxed) >> 26 == 0x15 => Ending::Call(last.result.load(Relaxed)),
        None => panic!("a program raised exception {:#x}", last.syndrome.load(Relaxed)),
    }
}
