//! The CPU as a machine that answers: one descriptor of the local table, and one access through it in 32-bit mode.
use core::arch::asm;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use hectare_segmentation::x86::{Kind, SegmentDescriptor};

/// Entry 0 of the local table, ring 3.
pub(crate) const SELECTOR: u16 = 7;
/// Where reads and writes succeed.
pub(crate) const DATA: Range<u32> = 0x2000_0000..0x2004_0000;
/// The page with the 32-bit code, and the one with its stack and saved registers.
pub(crate) const SCRATCH: Range<u32> = 0x1000_0000..0x1000_2000;

const CODE: u32 = SCRATCH.start;
const STACK_TOP: u32 = SCRATCH.end - 0x100;
const SAVED: u32 = SCRATCH.end - 0x80;

/// What the CPU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The access was made.
    Done,
    /// Loading the selector raised this vector with this error code.
    Load(u8, u16),
    /// The access raised this vector with this error code.
    Access(u8, u16),
    /// The segment let the access through; the page at this linear address did not.
    Page(u32),
}

/// One at a time: the pages, the signal handler and the local table are the process's.
pub(crate) struct Machine {
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());
/// What the signal handler saw: vector, error code, instruction and address; a vector of 0 means nothing.
static VECTOR: AtomicU64 = AtomicU64::new(0);
static CODE_OF_FAULT: AtomicU64 = AtomicU64::new(0);
static AT: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// `struct user_desc` of Linux's `asm/ldt.h`.
#[repr(C)]
struct UserDescriptor {
    entry: u32,
    base: u32,
    limit: u32,
    flags: u32,
}

impl Machine {
    /// The machine, `None` if the system has no `modify_ldt` or no 32-bit code segment.
    pub(crate) fn new() -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The kernel's 32-bit code segment for programs must exist: LAR tells.
        lar(0x23)?;
        map(SCRATCH.start, 0x1000, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)?;
        map(SCRATCH.start + 0x1000, 0x1000, libc::PROT_READ | libc::PROT_WRITE)?;
        map(DATA.start, DATA.len(), libc::PROT_READ | libc::PROT_WRITE)?;
        catch_signals();
        let machine = Self { _alone: alone };
        let flat = SegmentDescriptor::flat_data(hectare_segmentation::x86::Ring::Ring3);
        machine.describe(&flat).then_some(machine)
    }

    /// Writes the descriptor into the table. False if the kernel refuses, or would clear the entry instead.
    pub(crate) fn describe(&self, segment: &SegmentDescriptor) -> bool {
        let (contents, fixed) = match segment.kind {
            Kind::Data { expand_down, writable } => (u32::from(expand_down), !writable),
            Kind::Code { conforming, readable } => (2 | u32::from(conforming), !readable),
        };
        let flags = u32::from(segment.big)
            | contents << 1
            | u32::from(fixed) << 3
            | u32::from(segment.limit.in_pages()) << 4
            | u32::from(!segment.present) << 5
            | u32::from(segment.available) << 6;
        let entry = UserDescriptor { entry: 0, base: segment.base, limit: segment.limit.field(), flags };
        // SAFETY: the kernel reads one user_desc, which lives until the call returns; the entry is nobody's but ours.
        let result = unsafe {
            libc::syscall(libc::SYS_modify_ldt, 0x11, &raw const entry, size_of::<UserDescriptor>())
        };
        result == 0 && self.read_back() != 0
    }

    /// The entry as the kernel wrote it.
    pub(crate) fn read_back(&self) -> u64 {
        let mut entry = 0_u64;
        // SAFETY: the kernel writes at most the eight bytes that it is given.
        unsafe { libc::syscall(libc::SYS_modify_ldt, 0, &raw mut entry, 8) };
        entry
    }

    pub(crate) fn access(&mut self, offset: u32, bytes: u32, write: bool) -> Outcome {
        self.access_through(SELECTOR, offset, bytes, write)
    }

    /// Loads GS with the selector and makes one access through it, both in 32-bit mode.
    pub(crate) fn access_through(&mut self, selector: u16, offset: u32, bytes: u32, write: bool) -> Outcome {
        let access_at = write_code(bytes, write);
        VECTOR.store(0, Relaxed);
        run(selector, offset);
        let (vector, code) = (VECTOR.load(Relaxed) as u8, CODE_OF_FAULT.load(Relaxed) as u16);
        match vector {
            0 => Outcome::Done,
            14 => Outcome::Page(ADDRESS.load(Relaxed) as u32),
            _ if AT.load(Relaxed) < u64::from(access_at) => Outcome::Load(vector, code),
            _ => Outcome::Access(vector, code),
        }
    }

    pub(crate) fn last_offset(&self) -> Option<u32> {
        let (last, good): (u32, u8);
        // SAFETY: LSL reads a descriptor and changes one register and the flags.
        unsafe {
            asm!("lsl {last:e}, {selector:e}", "setz {good}", selector = in(reg) u32::from(SELECTOR),
                 last = inout(reg) 0_u32 => last, good = out(reg_byte) good, options(nomem, nostack));
        }
        (good != 0).then_some(last)
    }

    /// Bits 8 to 15 and 20 to 23 of the descriptor's upper half: what LAR is specified to return.
    pub(crate) fn rights(&self) -> Option<u32> {
        lar(SELECTOR).map(|rights| rights & 0x00F0_FF00)
    }

    pub(crate) fn readable(&self) -> bool {
        let good: u8;
        // SAFETY: VERR reads a descriptor and changes the flags.
        unsafe {
            asm!("verr {selector:x}", "setz {good}", selector = in(reg) u32::from(SELECTOR), good = out(reg_byte) good,
                 options(nomem, nostack));
        }
        good != 0
    }

    pub(crate) fn writable(&self) -> bool {
        let good: u8;
        // SAFETY: VERW reads a descriptor and changes the flags.
        unsafe {
            asm!("verw {selector:x}", "setz {good}", selector = in(reg) u32::from(SELECTOR), good = out(reg_byte) good,
                 options(nomem, nostack));
        }
        good != 0
    }
}

fn lar(selector: u16) -> Option<u32> {
    let (rights, good): (u32, u8);
    // SAFETY: LAR reads a descriptor and changes one register and the flags.
    unsafe {
        asm!("lar {rights:e}, {selector:e}", "setz {good}", selector = in(reg) u32::from(selector),
             rights = inout(reg) 0_u32 => rights, good = out(reg_byte) good, options(nomem, nostack));
    }
    (good != 0).then_some(rights)
}

/// Maps memory at exactly this address, or finds it mapped by an earlier machine.
fn map(start: u32, length: usize, protection: i32) -> Option<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let place = core::ptr::without_provenance_mut(start as usize);
    // SAFETY: NOREPLACE: nothing that exists is touched.
    let mapped = unsafe { libc::mmap(place, length, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return (std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST)).then_some(());
    }
    (mapped == place).then_some(())
}

/// Writes the 32-bit code; returns the address of the access in it.
fn write_code(bytes: u32, write: bool) -> u32 {
    let mut code = vec![0x8E, 0xE8]; // mov gs, ax
    let access_at = CODE + 2;
    code.push(0x65); // gs:
    if bytes == 2 {
        code.push(0x66);
    }
    code.push(match (write, bytes) {
        (false, 1) => 0x8A,
        (false, _) => 0x8B,
        (true, 1) => 0x88,
        (true, _) => 0x89,
    });
    code.push(0x0A); // cl, cx or ecx, [edx]
    code.resize(RESUME as usize, 0x90);
    code.extend([0x31, 0xC0, 0x8E, 0xE8]); // xor eax, eax; mov gs, ax: leave no selector behind
    code.push(0xEA); // jmp 0x33:back
    code.extend((CODE + BACK).to_le_bytes());
    code.extend([0x33, 0]);
    code.resize(BACK as usize, 0x90);
    // 64-bit again: mov rsp, [SAVED]; jmp [SAVED + 8]
    code.extend([0x48, 0x8B, 0x24, 0x25]);
    code.extend(SAVED.to_le_bytes());
    code.extend([0xFF, 0x24, 0x25]);
    code.extend((SAVED + 8).to_le_bytes());
    // SAFETY: the page is mapped, writable and ours alone, and the code is shorter than a page.
    unsafe {
        core::ptr::copy_nonoverlapping(
            code.as_ptr(),
            core::ptr::with_exposed_provenance_mut(CODE as usize),
            code.len(),
        )
    };
    access_at
}

/// Where the code goes on after the access, and where its 64-bit part begins.
const RESUME: u32 = 16;
const BACK: u32 = 32;

/// Enters the 32-bit code and comes back.
fn run(selector: u16, offset: u32) {
    // SAFETY: the code in the page loads GS, makes one access and returns here with the stack pointer that was saved;
    // a fault resumes it. It changes GS (to null), EAX and ECX; the upper halves of the other registers may be lost in
    // 32-bit mode, so all are named as changed or saved on the stack. The stack below the pointer is not used.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "lea r8, [rip + 2f]",
            "mov [{saved}], rsp",
            "mov [{saved} + 8], r8",
            "mov esp, {stack}",
            "push 0x23",
            "push {code}",
            "retfq",
            "2:",
            "pop rbp",
            "pop rbx",
            saved = const SAVED,
            stack = const STACK_TOP,
            code = const CODE,
            inout("eax") u32::from(selector) => _,
            inout("edx") offset => _,
            inout("ecx") 0x5A_u32 => _,
            out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
}

fn catch_signals() {
    let stack = Box::leak(vec![0_u8; 1 << 16].into_boxed_slice());
    let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the stack is never freed and nothing else uses it.
    unsafe { libc::sigaltstack(&raw const alternate, core::ptr::null_mut()) };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the handler uses atomics and the context that it gets, nothing else.
        unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    }
}

/// Notes a fault of the 32-bit code and resumes behind it. Any other fault ends the process.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a context that lives until the handler returns.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as u64;
    if !(u64::from(CODE)..u64::from(CODE + RESUME)).contains(&at) {
        // SAFETY: restores the default action, so that the fault ends the process when it is repeated.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    VECTOR.store(registers[libc::REG_TRAPNO as usize] as u64, Relaxed);
    CODE_OF_FAULT.store(registers[libc::REG_ERR as usize] as u64, Relaxed);
    AT.store(at, Relaxed);
    // SAFETY: the kernel gives the fault's information, which lives until the handler returns.
    let info = unsafe { &*info };
    // SAFETY: the address field is set for these signals.
    ADDRESS.store(unsafe { info.si_addr() }.addr() as u64, Relaxed);
    registers[libc::REG_RIP as usize] = i64::from(CODE + RESUME);
}
