//! Faults, messages and programs.
//!
//! ```text
//!   kernel: fault at a probe ─► noted, on behind the probe        message ─► translations dropped
//!   program: any trap ─► `enter_user` returns to the kernel that called it
//! ```
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hectare_core::AccessKind;

use super::tables::{USER_CODE, USER_DATA, cpu, kernel_stack};
use super::{apic, flush};
use crate::cpus::CPUS;
use crate::paging::{Ending, Fault};

/// The interrupt that CPUs send each other, and a program's call of the kernel.
pub const MESSAGE: u8 = 0x40;
pub const CALL: u8 = 0x41;
pub const VECTORS: usize = CALL as usize + 1;
const PAGE_FAULT: u64 = 14;

// Each vector pushes an error code, if the CPU does not, and its number.
global_asm!(
    ".text",
    ".balign 16",
    ".global trap_vectors",
    "trap_vectors:",
    ".set vector, 0",
    ".rept {vectors}",
    ".balign 16",
    ".if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21",
    "push 0",
    ".endif",
    "push vector",
    "jmp trap_entry",
    ".set vector, vector + 1",
    ".endr",
    "trap_entry:",
    "cld",
    "test byte ptr [rsp + 24], 3",
    "jnz 2f",
    "push rax",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "lea rdi, [rsp + 72]",
    "call kernel_trap",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    // From a program: its registers are of no use any more, but for rax.
    "2: mov rdi, rsp",
    "mov rsi, rax",
    "sub rsp, 8",
    "call user_trap",
    "add rsp, 72",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".global enter_user",
    "enter_user:", // rdi: where, rsi and rdx: arguments, rcx: the place of the kernel's stack pointer
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rcx], rsp",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "push {data}",
    "push 0",
    "push 0x202", // interrupts are on
    "push {code}",
    "push rax",
    "iretq",
    // Programs: two arguments, a result, no stack.
    ".section .user, \"ax\"",
    ".global user_read, user_write",
    "user_read:",
    "mov rax, [rdi]",
    "int {call}",
    "user_write:",
    "mov [rdi], rsi",
    "mov rax, rsi",
    "int {call}",
    ".text",
    vectors = const VECTORS,
    data = const USER_DATA,
    code = const USER_CODE,
    call = const CALL,
);

unsafe extern "C" {
    static trap_vectors: u8;
    fn enter_user(at: u64, first: u64, second: u64, stack: *mut u64);
}

pub fn vector_address(vector: usize) -> u64 {
    (&raw const trap_vectors).addr() as u64 + vector as u64 * 16
}

/// What is on the stack.
#[derive(Debug)]
#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    flags: u64,
    rsp: u64,
    ss: u64,
}

/// Of each CPU: where to go on after a probe's fault, and the last trap: vector, error code, address, a program's rax.
struct Last {
    recover: AtomicU64,
    vector: AtomicU64,
    error: AtomicU64,
    address: AtomicU64,
    result: AtomicU64,
}

static LAST: [Last; CPUS] = [const {
    Last {
        recover: AtomicU64::new(0),
        vector: AtomicU64::new(0),
        error: AtomicU64::new(0),
        address: AtomicU64::new(0),
        result: AtomicU64::new(0),
    }
}; CPUS];

fn note(frame: &Frame, result: u64) -> &'static Last {
    let address: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    let last = &LAST[cpu()];
    last.vector.store(frame.vector, Relaxed);
    last.error.store(frame.error, Relaxed);
    last.address.store(address, Relaxed);
    last.result.store(result, Relaxed);
    last
}

fn answer_message() {
    flush::answer();
    apic::end_of_interrupt();
}

#[unsafe(no_mangle)]
extern "C" fn kernel_trap(frame: &mut Frame) {
    if frame.vector == u64::from(MESSAGE) {
        return answer_message();
    }
    let last = note(frame, 0);
    let recover = last.recover.swap(0, Relaxed);
    assert!(
        frame.vector == PAGE_FAULT && recover != 0,
        "trap at {:#x}: {frame:x?}",
        last.address.load(Relaxed)
    );
    frame.rip = recover;
}

#[unsafe(no_mangle)]
extern "C" fn user_trap(frame: &Frame, result: u64) {
    note(frame, result);
    if frame.vector == u64::from(MESSAGE) {
        answer_message();
    }
}

impl Last {
    fn fault(&self) -> Fault {
        // Volume 3, 4.7: bit 1 a write, bit 4 a fetch.
        let error = self.error.load(Relaxed);
        let kind = match (error & 0x10 != 0, error & 2 != 0) {
            (true, _) => AccessKind::Execute,
            (_, true) => AccessKind::Write,
            _ => AccessKind::Read,
        };
        Fault { address: self.address.load(Relaxed), kind }
    }
}

/// Reads eight bytes, or says what the fault was.
pub fn probe_read(address: u64) -> Result<u64, Fault> {
    let last = &LAST[cpu()];
    let (value, faulted): (u64, u64);
    // SAFETY: the caller of `paging` answers for the address; a fault goes on at the label, with `recover` zero.
    unsafe {
        asm!(
            "lea {scratch}, [rip + 2f]",
            "mov [{recover}], {scratch}",
            "mov {value}, [{address}]",
            "2: mov {scratch}, [{recover}]",
            "mov qword ptr [{recover}], 0",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = out(reg) value,
            scratch = out(reg) faulted,
        )
    };
    if faulted == 0 { Err(last.fault()) } else { Ok(value) }
}

/// Writes eight bytes, or says what the fault was.
pub fn probe_write(address: u64, value: u64) -> Result<(), Fault> {
    let last = &LAST[cpu()];
    let faulted: u64;
    // SAFETY: as for `probe_read`.
    unsafe {
        asm!(
            "lea {scratch}, [rip + 2f]",
            "mov [{recover}], {scratch}",
            "mov [{address}], {value}",
            "2: mov {scratch}, [{recover}]",
            "mov qword ptr [{recover}], 0",
            recover = in(reg) last.recover.as_ptr(),
            address = in(reg) address,
            value = in(reg) value,
            scratch = out(reg) faulted,
        )
    };
    if faulted == 0 { Err(last.fault()) } else { Ok(()) }
}

/// Runs a program from `at` with two arguments until it calls or faults.
///
/// # Safety
/// What the tables in force let programs touch is the program's.
pub unsafe fn run_user(at: u64, first: u64, second: u64) -> Ending {
    loop {
        // SAFETY: the kernel's registers and stack are kept; the caller answers for the program.
        unsafe { enter_user(at, first, second, kernel_stack()) };
        // SAFETY: the gate left interrupts off; the kernel has them on.
        unsafe { asm!("sti", options(nomem, nostack)) };
        let last = &LAST[cpu()];
        match last.vector.load(Relaxed) {
            vector if vector == u64::from(CALL) => return Ending::Call(last.result.load(Relaxed)),
            PAGE_FAULT => return Ending::Fault(last.fault()),
            // Another CPU's message: the program begins again, which its few instructions bear.
            vector if vector == u64::from(MESSAGE) => {}
            vector => panic!("a program raised trap {vector}"),
        }
    }
}
