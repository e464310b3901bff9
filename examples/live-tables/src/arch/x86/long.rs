//! 64 bits: four levels, or five where the CPU has them.
use core::arch::{asm, global_asm};

use hectare_core::PhysAddr;
use hectare_paging::format::X86_64;

use super::{KEEP_AWAY, PGE, STACK, begin, unexpected};
use crate::arch::Machine;
use crate::check::Checks;

// From 32 bits to long mode, on tables that show 4 GiB as they are. A probe names in rax the instruction that may fault.
global_asm!(
    // The note that QEMU looks for: XEN_ELFNOTE_PHYS32_ENTRY, 18.
    ".section .note.Xen, \"a\", @note",
    ".balign 4",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long pvh_start",
    ".section .boot, \"ax\"",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "cli",
    // P5[0] to P4, P4[0] to P3, P3[0..4] to four P2, whose entries are 2 MiB pages.
    "mov eax, offset BOOT_TABLES + 0x1003",
    "mov dword ptr [BOOT_TABLES], eax",
    "add eax, 0x1000",
    "mov dword ptr [BOOT_TABLES + 0x1000], eax",
    "mov ecx, 0",
    "2: mov eax, ecx",
    "shl eax, 12",
    "add eax, offset BOOT_TABLES + 0x3003",
    "mov dword ptr [BOOT_TABLES + 0x2000 + ecx * 8], eax",
    "inc ecx",
    "cmp ecx, 4",
    "jne 2b",
    "mov ecx, 0",
    "2: mov eax, ecx",
    "shl eax, 21",
    "or eax, 0x83",
    "mov dword ptr [BOOT_TABLES + 0x3000 + ecx * 8], eax",
    "inc ecx",
    "cmp ecx, 2048",
    "jne 2b",
    "mov eax, 7", // five levels: CPUID.7.0:ECX.16
    "mov ecx, 0",
    "cpuid",
    "mov edx, offset BOOT_TABLES + 0x1000",
    "mov eax, cr4",
    "or eax, 0x20", // PAE
    "bt ecx, 16",
    "jnc 2f",
    "or eax, {la57}",
    "mov edx, offset BOOT_TABLES",
    "2: mov cr4, eax",
    "mov cr3, edx",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "or eax, 0x900", // EFER: LME, NXE
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80010000", // PG, WP
    "mov cr0, eax",
    "lgdt [boot_gdt_pointer]",
    ".byte 0xEA",
    ".long 3f",
    ".word 8",
    ".code64",
    "3: mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "lea rsp, [STACK_PLACE + {stack}]",
    "call {begin}",
    ".balign 16",
    "boot_gdt: .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF",
    "boot_gdt_pointer: .word 23",
    ".long boot_gdt",
    ".text",
    ".global page_fault, other_fault, probe_read, probe_write, probe_execute",
    "page_fault:",
    "cmp rax, [rsp + 8]",
    "jne other_fault",
    "pop rax",
    "or eax, 0x80000000",
    "mov qword ptr [rsp], offset refused",
    "iretq",
    "other_fault:",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "and rsp, -16",
    "call {unexpected}",
    "probe_read:",
    "lea rax, [rip + 2f]",
    "2: mov edi, [rdi]",
    "mov [rsi], edi",
    "xor eax, eax",
    "ret",
    "probe_write:",
    "mov esi, [rsi]",
    "lea rax, [rip + 2f]",
    "2: mov [rdi], esi",
    "xor eax, eax",
    "refused: ret",
    "probe_execute:",
    "mov rax, rdi",
    "jmp rax",
    stack = const STACK,
    la57 = const LA57,
    begin = sym begin,
    unexpected = sym unexpected,
);

unsafe extern "C" {
    pub fn probe_read(address: usize, value: *mut u32) -> u32;
    pub fn probe_write(address: usize, value: *mut u32) -> u32;
    pub fn probe_execute(address: usize) -> u32;
}

/// CR4: five levels.
const LA57: usize = 1 << 12;
const BOOT_BYTES: usize = 7 << 12;

#[repr(align(4096))]
#[expect(dead_code, reason = "read by the CPU alone")]
struct BootTables([u8; BOOT_BYTES]);

#[unsafe(no_mangle)]
static mut BOOT_TABLES: BootTables = BootTables([0; BOOT_BYTES]);

/// The number of levels is fixed in long mode: the start took five if it could.
fn five_levels() -> bool {
    let control: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) control, options(nomem, nostack)) };
    control & LA57 != 0
}

pub fn formats(checks: &mut Checks) {
    if five_levels() {
        crate::live::run::<X86_64<5>>(checks);
    } else {
        crate::live::run::<X86_64<4>>(checks);
    }
}

impl<const LEVELS: usize> Machine for X86_64<LEVELS> {
    unsafe fn load(root: PhysAddr) -> bool {
        // SAFETY: the caller's promise.
        unsafe { translate(root.value() as usize) };
        true
    }
}

/// A change of CR4.PGE drops global pages too.
///
/// # Safety
/// The tables show the program where it is.
unsafe fn translate(root: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "mov {scratch}, cr4",
            "and {scratch}, {without}",
            "mov cr4, {scratch}",
            "mov cr3, {root}",
            "or {scratch}, {with}",
            "mov cr4, {scratch}",
            scratch = out(reg) _,
            without = const !(PGE as isize),
            with = const PGE | KEEP_AWAY,
            root = in(reg) root,
            options(nostack)
        )
    };
}

/// Back to the tables of the start.
///
/// # Safety
/// They show the program where it is.
pub unsafe fn leave() {
    let root = (&raw const BOOT_TABLES).addr() + if five_levels() { 0 } else { 0x1000 };
    // SAFETY: the caller's promise.
    unsafe { translate(root) };
}

/// The same root again.
pub fn reload() {
    // SAFETY: drops translations.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
}
