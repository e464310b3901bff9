//! From 32 bits (the first CPU) and from 16 bits (the others) to long mode, on tables that show 4 GiB as they are.
use core::arch::global_asm;

use crate::cpus::CPUS;

const STACK: usize = 65536;
/// Where the other CPUs begin: a page below 1 MiB, by its number. The memory map keeps it out of the frames.
pub const TRAMPOLINE: usize = 0x8000;

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
    "mov edi, ebx", // the start info
    // P4[0] to P3, P3[0..4] to four P2, whose entries are 2 MiB pages.
    "mov eax, offset BOOT_TABLES + 4096 + 3",
    "mov dword ptr [BOOT_TABLES], eax",
    "mov ecx, 0",
    "2: mov eax, ecx",
    "shl eax, 12",
    "add eax, offset BOOT_TABLES + 8192 + 3",
    "mov dword ptr [BOOT_TABLES + 4096 + ecx * 8], eax",
    "inc ecx",
    "cmp ecx, 4",
    "jne 2b",
    "mov ecx, 0",
    "2: mov eax, ecx",
    "shl eax, 21",
    "or eax, 0x83",
    "mov dword ptr [BOOT_TABLES + 8192 + ecx * 8], eax",
    "inc ecx",
    "cmp ecx, 2048",
    "jne 2b",
    "mov eax, cr4",
    "or eax, 0x20", // PAE
    "mov cr4, eax",
    "mov eax, offset BOOT_TABLES",
    "mov cr3, eax",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "or eax, 0x900", // EFER: LME, NXE
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80010000", // PG, WP
    "mov cr0, eax",
    "lgdt [boot_gdt_pointer]",
    ".byte 0xEA",
    ".long long_mode",
    ".word 8",
    ".code64",
    "long_mode:",
    "mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "lea rsp, [STACKS + {stack}]",
    "call first_cpu",
    // The trampoline, copied to its page: straight from real mode to long mode.
    // Its first 32 bytes: a jump, the pointer to the descriptors, the stack, the CPU's number.
    ".balign 16",
    ".global trampoline_start, trampoline_end",
    ".code16",
    "trampoline_start:",
    "jmp 2f",
    ".balign 8",
    ".word 23",
    ".long boot_gdt",
    ".balign 8",
    ".quad 0, 0",
    "2: cli",
    "xor ax, ax",
    "mov ds, ax",
    "mov eax, cr4",
    "or eax, 0x20",
    "mov cr4, eax",
    "mov eax, offset BOOT_TABLES",
    "mov cr3, eax",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "or eax, 0x900",
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80010001",
    "mov cr0, eax",
    "lgdt [{page} + 8]",
    ".byte 0x66, 0xEA",
    ".long {page} + 3f - trampoline_start",
    ".word 8",
    ".code64",
    "3: mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov rsp, [{page} + 16]",
    "mov rdi, [{page} + 24]",
    "mov rax, offset other_cpu",
    "call rax",
    "trampoline_end:",
    ".balign 16",
    "boot_gdt: .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF",
    "boot_gdt_pointer: .word 23",
    ".long boot_gdt",
    stack = const STACK,
    page = const TRAMPOLINE,
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

#[repr(C, align(4096))]
struct Pages<const N: usize>([u8; N]);

#[unsafe(no_mangle)]
static mut BOOT_TABLES: Pages<{ 6 * 4096 }> = Pages([0; 6 * 4096]);
#[unsafe(no_mangle)]
static mut STACKS: Pages<{ CPUS * STACK }> = Pages([0; CPUS * STACK]);

/// The root of the tables of the start.
pub fn tables() -> u64 {
    (&raw const BOOT_TABLES).addr() as u64
}

/// Puts the trampoline for CPU number `cpu` into its page; returns the page's number.
///
/// # Safety
/// No CPU is in the trampoline.
pub unsafe fn trampoline(cpu: usize) -> u8 {
    let start = &raw const trampoline_start;
    let length = (&raw const trampoline_end).addr() - start.addr();
    let page: *mut u8 = core::ptr::with_exposed_provenance_mut(TRAMPOLINE);
    // SAFETY: the page is memory that the map reserves for this; the code is shorter.
    unsafe { page.copy_from_nonoverlapping(start, length) };
    let stack_end = (&raw const STACKS).addr() + (cpu + 1) * STACK;
    for (place, value) in [(16, stack_end), (24, cpu)] {
        // SAFETY: two numbers of eight bytes inside the page.
        unsafe { page.add(place).cast::<usize>().write(value) };
    }
    (TRAMPOLINE >> 12) as u8
}
