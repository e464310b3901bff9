//! Faults and programs.
//!
//! ```text
//!   sscratch: 0 in the kernel, its stack pointer in a program
//!   kernel: fault at a probe ─► noted, on behind the probe
//!   program: any trap ─► `enter_user` returns to the kernel that called it
//! ```
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hectare_core::AccessKind;

use super::cpu;
use crate::cpus::CPUS;
use crate::paging::{Ending, Fault};

global_asm!(
    ".text",
    ".balign 4",
    ".global trap_entry",
    "trap_entry:",
    "csrrw sp, sscratch, sp",
    "bnez sp, 1f",
    "csrrw sp, sscratch, sp",
    "addi sp, sp, -128",
    "sd ra, 0(sp)",
    "sd t0, 8(sp)",
    "sd t1, 16(sp)",
    "sd t2, 24(sp)",
    "sd t3, 32(sp)",
    "sd t4, 40(sp)",
    "sd t5, 48(sp)",
    "sd t6, 56(sp)",
    "sd a0, 64(sp)",
    "sd a1, 72(sp)",
    "sd a2, 80(sp)",
    "sd a3, 88(sp)",
    "sd a4, 96(sp)",
    "sd a5, 104(sp)",
    "sd a6, 112(sp)",
    "sd a7, 120(sp)",
    "csrr a0, scause",
    "csrr a1, stval",
    "csrr a2, sepc",
    "call kernel_trap",
    "csrw sepc, a0",
    "ld ra, 0(sp)",
    "ld t0, 8(sp)",
    "ld t1, 16(sp)",
    "ld t2, 24(sp)",
    "ld t3, 32(sp)",
    "ld t4, 40(sp)",
    "ld t5, 48(sp)",
    "ld t6, 56(sp)",
    "ld a0, 64(sp)",
    "ld a1, 72(sp)",
    "ld a2, 80(sp)",
    "ld a3, 88(sp)",
    "ld a4, 96(sp)",
    "ld a5, 104(sp)",
    "ld a6, 112(sp)",
    "ld a7, 120(sp)",
    "addi sp, sp, 128",
    "sret",
    // From a program: its registers are of no use any more, but for a0.
    "1: csrw sscratch, zero",
    "ld tp, 104(sp)",
    "mv a2, a0",
    "csrr a0, scause",
    "csrr a1, stval",
    "call user_trap",
    "ld ra, 0(sp)",
    "ld s0, 8(sp)",
    "ld s1, 16(sp)",
    "ld s2, 24(sp)",
    "ld s3, 32(sp)",
    "ld s4, 40(sp)",
    "ld s5, 48(sp)",
    "ld s6, 56(sp)",
    "ld s7, 64(sp)",
    "ld s8, 72(sp)",
    "ld s9, 80(sp)",
    "ld s10, 88(sp)",
    "ld s11, 96(sp)",
    "addi sp, sp, 112",
    "ret",
    ".global enter_user",
    "enter_user:", // a0: where, a1 and a2: arguments
    "addi sp, sp, -112",
    "sd ra, 0(sp)",
    "sd s0, 8(sp)",
    "sd s1, 16(sp)",
    "sd s2, 24(sp)",
    "sd s3, 32(sp)",
    "sd s4, 40(sp)",
    "sd s5, 48(sp)",
    "sd s6, 56(sp)",
    "sd s7, 64(sp)",
    "sd s8, 72(sp)",
    "sd s9, 80(sp)",
    "sd s10, 88(sp)",
    "sd s11, 96(sp)",
    "sd tp, 104(sp)",
    "csrw sscratch, sp",
    "csrw sepc, a0",
    "li t0, 0x100",
    "csrc sstatus, t0", // SPP: the user mode
    "mv a0, a1",
    "mv a1, a2",
    "sret",
    // Programs: two arguments, a result, no stack.
    ".section .user, \"ax\"",
    ".global user_read, user_write",
    "user_read:",
    "ld a0, 0(a0)",
    "ecall",
    "user_write:",
    "sd a1, 0(a0)",
    "mv a0, a1",
    "ecall",
    ".text",
);

unsafe extern "C" {
    fn trap_entry();
    fn enter_user(at: u64, first: u64, second: u64);
}

/// Makes this CPU's traps come here, and lets the kernel touch what is a program's.
///
/// # Safety
/// `tp` is this CPU's number.
pub unsafe fn load() {
    // SAFETY: the entry is aligned; SUM (bit 18) gives the kernel rights, and takes none.
    unsafe {
        asm!(
            "csrw sscratch, zero",
            "csrw stvec, {entry}",
            "csrs sstatus, {sum}",
            entry = in(reg) trap_entry as *const (),
            sum = in(reg) 1 << 18,
        )
    };
}

/// Of each CPU: where to go on after a probe's fault, and the last trap: cause, address, a program's a0.
struct Last {
    recover: AtomicU64,
    cause: AtomicU64,
    address: AtomicU64,
    result: AtomicU64,
}

static LAST: [Last; CPUS] = [const {
    Last {
        recover: AtomicU64::new(0),
        cause: AtomicU64::new(0),
        address: AtomicU64::new(0),
        result: AtomicU64::new(0),
    }
}; CPUS];

// Causes: volume II, table 4.2.
const CALL: u64 = 8;
const FETCH: u64 = 12;
const LOAD: u64 = 13;
const STORE: u64 = 15;

fn note(cause: u64, address: u64, result: u64) -> &'static Last {
    let last = &LAST[cpu()];
    last.cause.store(cause, Relaxed);
    last.address.store(address, Relaxed);
    last.result.store(result, Relaxed);
    last
}

#[unsafe(no_mangle)]
extern "C" fn kernel_trap(cause: u64, address: u64, at: u64) -> u64 {
    let recover = note(cause, address, 0).recover.swap(0, Relaxed);
    assert!(
        matches!(cause, FETCH | LOAD | STORE) && recover != 0,
        "trap {cause} at {at:#x} for address {address:#x}"
    );
    recover
}

#[unsafe(no_mangle)]
extern "C" fn user_trap(cause: u64, address: u64, result: u64) {
    note(cause, address, result);
}

impl Last {
    fn fault(&self) -> Fault {
        let kind = match self.cause.load(Relaxed) {
            FETCH => AccessKind::Execute,
            STORE => AccessKind::Write,
            _ => AccessKind::Read,
        };
        Fault { address: self.address.load(Relaxed), kind }
    }
}

/// Reads eight bytes, or says what the fault was.
pub fn probe_read(address: u64) -> Result<u64, Fault> {
    let last = &LAST[cpu()];
    let (value, still): (u64, u64);
    // SAFETY: the caller answers for the address; a fault goes on at the label, with `recover` zero.
    unsafe {
        asm!(
            "lla {scratch}, 2f",
            "sd {scratch}, 0({recover})",
            "ld {value}, 0({address})",
            "2: ld {scratch}, 0({recover})",
            "sd zero, 0({recover})",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = out(reg) value,
            scratch = out(reg) still,
        )
    };
    if still == 0 { Err(last.fault()) } else { Ok(value) }
}

/// Writes eight bytes, or says what the fault was.
pub fn probe_write(address: u64, value: u64) -> Result<(), Fault> {
    let last = &LAST[cpu()];
    let still: u64;
    // SAFETY: as for `probe_read`.
    unsafe {
        asm!(
            "lla {scratch}, 2f",
            "sd {scratch}, 0({recover})",
            "sd {value}, 0({address})",
            "2: ld {scratch}, 0({recover})",
            "sd zero, 0({recover})",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = in(reg) value,
            scratch = out(reg) still,
        )
    };
    if still == 0 { Err(last.fault()) } else { Ok(()) }
}

/// Runs a program from `at` with two arguments until it calls or faults.
///
/// # Safety
/// What the tables in force let programs touch is the program's.
pub unsafe fn run_user(at: u64, first: u64, second: u64) -> Ending {
    // SAFETY: the kernel's registers and stack are kept; the caller answers for the program.
    unsafe { enter_user(at, first, second) };
    let last = &LAST[cpu()];
    match last.cause.load(Relaxed) {
        CALL => Ending::Call(last.result.load(Relaxed)),
        FETCH | LOAD | STORE => Ending::Fault(last.fault()),
        cause => panic!("a program raised trap {cause}"),
    }
}
