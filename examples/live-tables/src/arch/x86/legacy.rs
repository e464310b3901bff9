//! 32 bits: two levels, and PAE.
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use hectare_core::PhysAddr;
use hectare_paging::format::{Pae, X86};

use super::{KEEP_AWAY, PGE, STACK, begin, unexpected};
use crate::arch::Machine;
use crate::check::Checks;

mod memory_functions;

// The probes get their arguments in ecx and edx. One names in eax the instruction that may fault.
global_asm!(
    // The note that QEMU looks for: XEN_ELFNOTE_PHYS32_ENTRY, 18.
    ".section .note.Xen, \"a\", @note",
    ".balign 4",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_start",
    ".section .boot, \"ax\"",
    ".global pvh_start",
    "pvh_start:",
    "cli",
    "lgdt [boot_gdt_pointer]",
    ".byte 0xEA",
    ".long 2f",
    ".word 8",
    "2: mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "lea esp, [STACK_PLACE + {stack}]",
    "mov eax, cr0",
    "and eax, ~4", // the compiler, and the library that came with it, use SSE
    "or eax, 2",
    "mov cr0, eax",
    "mov eax, cr4",
    "or eax, {sse}",
    "mov cr4, eax",
    "call {begin}",
    ".balign 16",
    "boot_gdt: .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF",
    "boot_gdt_pointer: .word 23",
    ".long boot_gdt",
    ".text",
    ".global page_fault, other_fault, probe_read, probe_write, probe_execute",
    "page_fault:",
    "cmp eax, [esp + 4]",
    "jne other_fault",
    "pop eax",
    "or eax, 0x80000000",
    "mov dword ptr [esp], offset refused",
    "iretd",
    "other_fault:",
    "call {unexpected}",
    "probe_read:",
    "lea eax, [2f]",
    "2: mov ecx, [ecx]",
    "mov [edx], ecx",
    "xor eax, eax",
    "ret",
    "probe_write:",
    "mov edx, [edx]",
    "lea eax, [2f]",
    "2: mov [ecx], edx",
    "xor eax, eax",
    "refused: ret",
    "probe_execute:",
    "mov eax, ecx",
    "jmp eax",
    stack = const STACK,
    sse = const SSE,
    begin = sym begin,
    unexpected = sym unexpected,
);

unsafe extern "fastcall" {
    pub fn probe_read(address: usize, value: *mut u32) -> u32;
    pub fn probe_write(address: usize, value: *mut u32) -> u32;
    pub fn probe_execute(address: usize) -> u32;
}

/// CR4.
const SSE: usize = 1 << 9 | 1 << 10;
const PSE: usize = 1 << 4;
const PAE: usize = 1 << 5;
/// CR0: PG, WP.
const PAGING: usize = 1 << 31 | 1 << 16;

/// With PAE the CPU takes the four entries of a root into registers when CR3 is loaded, and sets no bits in them. QEMU reads
/// them for each walk, and sets bits. So CR3 leads to a copy, which is made when CR3 is loaded: what the registers would be.
static REGISTERS: Registers = Registers([const { AtomicU64::new(0) }; 4]);
/// The root that they are copied from; 0 without PAE.
static ROOT: AtomicUsize = AtomicUsize::new(0);

#[repr(align(32))]
struct Registers([AtomicU64; 4]);

pub fn formats(checks: &mut Checks) {
    crate::live::run::<X86>(checks);
    crate::live::run::<X86<true>>(checks);
    crate::live::run::<Pae>(checks);
}

impl<const PSE36: bool> Machine for X86<PSE36> {
    unsafe fn load(root: PhysAddr) -> bool {
        ROOT.store(0, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { translate(root.value() as usize, PSE) };
        true
    }
}

impl Machine for Pae {
    unsafe fn load(root: PhysAddr) -> bool {
        // SAFETY: EFER.NXE.
        unsafe {
            asm!(
                "rdmsr", "or eax, 0x800", "wrmsr", in("ecx") 0xC000_0080_u32, out("eax") _, out("edx") _,
                options(nomem, nostack)
            )
        };
        ROOT.store(root.value() as usize, Relaxed);
        fill_registers();
        // SAFETY: the caller's promise.
        unsafe { translate((&raw const REGISTERS).addr(), PAE) };
        true
    }
}

fn fill_registers() {
    let root: *const [u64; 4] = core::ptr::with_exposed_provenance(ROOT.load(Relaxed));
    if root.is_null() {
        return;
    }
    // SAFETY: a root of PAE, which one CPU changes, this one.
    let entries = unsafe { root.read_volatile() };
    for (register, entry) in REGISTERS.0.iter().zip(entries) {
        register.store(entry, Relaxed);
    }
}

/// Translation is off while the format changes; nothing that was cached outlives that.
///
/// # Safety
/// The tables show the program where it is.
unsafe fn translate(root: usize, format: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "mov {scratch}, cr0",
            "and {scratch}, {off}",
            "mov cr0, {scratch}",
            "mov cr4, {format}",
            "mov cr3, {root}",
            "or {scratch}, {on}",
            "mov cr0, {scratch}",
            scratch = out(reg) _,
            off = const !PAGING,
            on = const PAGING,
            format = in(reg) SSE | PGE | KEEP_AWAY | format,
            root = in(reg) root,
            options(nostack)
        )
    };
}

/// # Safety
/// None that matters: there is no translation then.
pub unsafe fn leave() {
    // SAFETY: addresses are the same without it.
    unsafe {
        asm!("mov {0}, cr0", "and {0}, {1}", "mov cr0, {0}", out(reg) _, const !PAGING, options(nostack))
    };
}

/// The same root again.
pub fn reload() {
    fill_registers();
    // SAFETY: drops translations; with PAE the four entries are read again.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
}
