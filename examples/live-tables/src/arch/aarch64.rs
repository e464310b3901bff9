//! AArch64 on QEMU's `virt` board, at EL1.
use core::arch::{asm, global_asm};

use hectare_core::{AccessKind, PhysAddr};
use hectare_paging::format::{AArch64, aarch64};

use super::{Fault, Machine};
use crate::check::Checks;

#[path = "../../../kernel/src/arch/aarch64/board.rs"]
mod board;

pub use board::{Console, exit};

/// 2 GiB, of which little is touched: a large leaf of the granule of 64 KiB is 512 MiB.
pub const MEMORY: (u64, u64) = (0x4000_0000, 0xC000_0000);
/// The serial port.
pub const DEVICES: [(u64, u64); 1] = [(0x0900_0000, 0x0901_0000)];
/// `ret`: its caller sees the zero that it passed.
pub const RETURN: u32 = 0xD65F_03C0;
/// `tlbi` of an address may leave the upper levels of others.
pub const PAGE_DROPS_TABLES: bool = false;
const STACK: usize = 65536;

// A probe names in x9 the instruction that may fault; the exception goes on where the probe was called.
global_asm!(
    ".section .boot, \"ax\"",
    ".global start",
    "start:",
    "adrp x0, bss_start",
    "adrp x1, bss_end",
    "1: cmp x0, x1",
    "b.hs 2f",
    "stp xzr, xzr, [x0], #16",
    "b 1b",
    "2: mov x1, #(3 << 20)", // floating point is permitted: the compiler uses its registers
    "msr cpacr_el1, x1",
    "adrp x1, vectors",
    "add x1, x1, :lo12:vectors",
    "msr vbar_el1, x1",
    ".inst 0xD500419F", // PAN: the kernel keeps away from pages of the user
    "isb",
    "adrp x1, STACK_PLACE",
    "add x1, x1, :lo12:STACK_PLACE",
    "add x1, x1, #{pages}, lsl #12",
    "mov sp, x1",
    "bl {begin}",
    ".text",
    ".balign 2048",
    "vectors:",
    ".rept 4",
    ".balign 128",
    "b 1f",
    ".endr",
    ".balign 128", // at EL1 with its own stack, synchronous
    "mrs x10, elr_el1",
    "cmp x10, x9",
    "b.ne 1f",
    "msr elr_el1, x30",
    "mov x0, #1",
    "eret",
    ".rept 11",
    ".balign 128",
    "b 1f",
    ".endr",
    ".balign 128",
    "1: mrs x0, esr_el1",
    "mrs x1, far_el1",
    "mrs x2, elr_el1",
    "b {unexpected}",
    "probe_read:",
    "adr x9, 1f",
    "1: ldr w0, [x0]",
    "str w0, [x1]",
    "mov x0, #0",
    "ret",
    "probe_write:",
    "ldr w1, [x1]",
    "adr x9, 1f",
    "1: str w1, [x0]",
    "mov x0, #0",
    "ret",
    "probe_execute:",
    "mov x9, x0",
    "mov x0, #0",
    "br x9",
    pages = const STACK >> 12,
    begin = sym begin,
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

/// Tables of the start, and between formats: 1 GiB of devices, 3 GiB of memory, each at its own address.
static BOOT_ROOT: BootRoot = BootRoot({
    const BLOCK: u64 = 1;
    const DEVICE: u64 = 4 << 2;
    const SHAREABLE: u64 = 3 << 8;
    const ACCESSED: u64 = 1 << 10;
    let mut entries = [0; 512];
    entries[0] = DEVICE | ACCESSED | BLOCK;
    entries[1] = 1 << 30 | SHAREABLE | ACCESSED | BLOCK;
    entries[2] = 2 << 30 | SHAREABLE | ACCESSED | BLOCK;
    entries
});

#[repr(align(4096))]
#[expect(dead_code, reason = "read by the CPU alone")]
struct BootRoot([u64; 512]);

extern "C" fn begin() -> ! {
    // SAFETY: they show devices and memory where they are.
    unsafe { leave() };
    crate::program()
}

extern "C" fn unexpected(syndrome: usize, address: usize, at: usize) -> ! {
    panic!("exception {syndrome:#x} at {at:#x} for address {address:#x}")
}

pub fn formats(checks: &mut Checks) {
    const MANAGED: u8 = aarch64::HARDWARE_DIRTY;
    const WIDE: u8 = aarch64::LPA2 | MANAGED;
    crate::live::run::<AArch64<12, 48, MANAGED>>(checks);
    crate::live::run::<AArch64<14, 48, MANAGED>>(checks);
    crate::live::run::<AArch64<16, 48, MANAGED>>(checks);
    crate::live::run::<AArch64<12, 39>>(checks);
    crate::live::run::<AArch64<14, 47, { aarch64::HARDWARE_ACCESSED }>>(checks);
    crate::live::run::<AArch64<12, 52, WIDE>>(checks);
    crate::live::run::<AArch64<14, 52, WIDE>>(checks);
    crate::live::run::<AArch64<16, 52, WIDE>>(checks);
}

// Fields of TCR_EL1.
const CACHED_WALKS: u64 = 1 << 8 | 1 << 10 | 3 << 12;
const NO_UPPER_HALF: u64 = 1 << 23;
const HARDWARE_ACCESSED: u64 = 1 << 39;
const HARDWARE_DIRTY: u64 = 1 << 40;
const WIDE: u64 = 1 << 59;

impl<const GRANULE: u8, const BITS: u8, const OPTIONS: u8> Machine for AArch64<GRANULE, BITS, OPTIONS> {
    unsafe fn load(root: PhysAddr) -> bool {
        let (memory, updates, width) = features();
        let wide = OPTIONS & aarch64::LPA2 != 0;
        // ID_AA64MMFR0_EL1: TGran4, TGran64, TGran16, physical width; ID_AA64MMFR1_EL1: HAFDBS; 2: VARange.
        let field = |register: u64, shift: u32| register >> shift & 0xF;
        let granule = match GRANULE {
            12 => field(memory, 28) == 1 || !wide && field(memory, 28) == 0,
            14 => field(memory, 20) == 2 || !wide && field(memory, 20) == 1,
            _ => field(memory, 24) == 0 && (!wide || field(width, 16) >= 1 && field(memory, 0) >= 6),
        };
        let managed = match OPTIONS & aarch64::HARDWARE_DIRTY {
            0 => 0,
            aarch64::HARDWARE_ACCESSED => 1,
            _ => 2,
        };
        if !granule || field(updates, 0) < managed {
            return false;
        }
        let physical = field(memory, 0).min(if wide { 6 } else { 5 });
        let size = match GRANULE {
            12 => 0,
            14 => 2,
            _ => 1,
        };
        let mut control = u64::from(64 - BITS) | CACHED_WALKS | size << 14 | NO_UPPER_HALF | physical << 32;
        if OPTIONS & aarch64::HARDWARE_ACCESSED != 0 {
            control |= HARDWARE_ACCESSED;
        }
        if OPTIONS & aarch64::HARDWARE_DIRTY == aarch64::HARDWARE_DIRTY {
            control |= HARDWARE_DIRTY;
        }
        if wide && GRANULE != 16 {
            control |= WIDE;
        }
        // SAFETY: the caller's promise.
        unsafe { translate(root.value(), control) };
        true
    }
}

/// ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1.
fn features() -> (u64, u64, u64) {
    let (memory, updates, width);
    // SAFETY: reads registers.
    unsafe {
        asm!(
            "mrs {}, id_aa64mmfr0_el1",
            "mrs {}, id_aa64mmfr1_el1",
            "mrs {}, id_aa64mmfr2_el1",
            out(reg) memory,
            out(reg) updates,
            out(reg) width,
            options(nomem, nostack)
        )
    };
    (memory, updates, width)
}

/// The granule changes while translation is off.
///
/// # Safety
/// The tables show the program and its devices where they are.
unsafe fn translate(root: u64, control: u64) {
    // SAFETY: the caller's promise; no data is touched while translation is off.
    unsafe {
        asm!(
            "dsb ish",
            "mrs {scratch}, sctlr_el1",
            "bic {scratch}, {scratch}, #1",
            "msr sctlr_el1, {scratch}",
            "isb",
            "msr mair_el1, {attributes}",
            "msr tcr_el1, {control}",
            "msr ttbr0_el1, {root}",
            "isb",
            "tlbi vmalle1",
            "dsb nsh",
            "isb",
            "orr {scratch}, {scratch}, {on}",
            "msr sctlr_el1, {scratch}",
            "isb",
            attributes = in(reg) aarch64::MAIR,
            control = in(reg) control,
            root = in(reg) root,
            scratch = out(reg) _,
            on = in(reg) 0x1005_u64, // MMU and caches
            options(nostack)
        )
    };
}

/// # Safety
/// As for any tables.
pub unsafe fn leave() {
    let (memory, _, _) = features();
    let control = 25 | CACHED_WALKS | NO_UPPER_HALF | (memory & 7).min(5) << 32;
    // SAFETY: the tables of the start show memory and devices.
    unsafe { translate((&raw const BOOT_ROOT).addr() as u64, control) };
}

/// PAN off, or on.
pub fn open(key: bool) {
    // SAFETY: `msr pan, #0` or `#1`: nothing but the probes touches pages of the user.
    unsafe {
        if key {
            asm!(".inst 0xD500409F", options(nostack))
        } else {
            asm!(".inst 0xD500419F", options(nostack))
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

/// The last exception: classes of the syndrome register, 0x21 fetches, 0x25 loads and stores, whose bit 6 says which; the
/// status (bits 5:0) is a translation fault of some level, or one of the access flag or of rights.
fn fault() -> Fault {
    let (syndrome, address): (u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mrs {}, esr_el1", "mrs {}, far_el1", out(reg) syndrome, out(reg) address, options(nomem, nostack))
    };
    let kind = match syndrome >> 26 {
        0x21 => AccessKind::Execute,
        0x25 if syndrome & 1 << 6 != 0 => AccessKind::Write,
        0x25 => AccessKind::Read,
        _ => panic!("exception {syndrome:#x} for address {address:#x}"),
    };
    let present = match syndrome & 0x3F {
        0x04..0x08 | 0x2B => false,
        0x08..0x10 | 0x2A => true,
        _ => panic!("{kind:?} at {address:#x}: syndrome {syndrome:#x}"),
    };
    Fault { address, kind, present: Some(present) }
}

/// The walker sees the stores before.
pub fn begin_flush() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack)) };
}

pub fn drop_page(address: u64) {
    // SAFETY: drops a translation; the operand is the address in units of 4 KiB, of 44 bits, with all granules.
    unsafe { asm!("tlbi vaae1is, {}", in(reg) address >> 12 & ((1 << 44) - 1), options(nostack)) };
}

pub fn drop_all(_global: bool) {
    // SAFETY: drops translations.
    unsafe { asm!("tlbi vmalle1is", options(nostack)) };
}

/// No root is kept beside the caches.
pub fn reload() {}

pub fn end_flush() {
    // SAFETY: waits until all is dropped.
    unsafe { asm!("dsb ish", "isb", options(nostack)) };
}
