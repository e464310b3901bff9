//! x86 of 32 and of 64 bits on QEMU's `q35`, started by the PVH protocol.
//!
//! ```text
//!   CR0  PG WP   CR4  PAE PSE PGE LA57 as the format wants   SMEP SMAP: the kernel keeps away from pages of the user
//! ```
use core::arch::asm;

use hectare_core::AccessKind;

use super::Fault;

#[path = "../../../kernel/src/arch/x86_64/board.rs"]
mod board;
#[cfg(target_arch = "x86")]
mod legacy;
#[cfg(target_arch = "x86_64")]
mod long;

pub use board::{Console, exit};
#[cfg(target_arch = "x86")]
pub use legacy::{formats, leave, reload};
#[cfg(target_arch = "x86_64")]
pub use long::{formats, leave, reload};

#[cfg(target_arch = "x86")]
use legacy::{probe_execute, probe_read, probe_write};
#[cfg(target_arch = "x86_64")]
use long::{probe_execute, probe_read, probe_write};

/// 64 MiB, but for page 0: a null pointer faults.
pub const MEMORY: (u64, u64) = (0x1000, 0x400_0000);
/// All are behind ports.
pub const DEVICES: [(u64, u64); 0] = [];
/// `xor eax, eax`, `ret`.
pub const RETURN: u32 = 0x00C3_C031;
/// `invlpg` drops the upper levels of all addresses (SDM 3A, 4.10.4.1, now 5.10.4.1).
pub const PAGE_DROPS_TABLES: bool = true;

const STACK: usize = 65536;
/// CR4.
const PGE: usize = 1 << 7;
const KEEP_AWAY: usize = 1 << 20 | 1 << 21;

#[repr(align(4096))]
#[expect(dead_code, reason = "used by the stack pointer alone")]
struct Stack([u8; STACK]);

#[unsafe(no_mangle)]
static mut STACK_PLACE: Stack = Stack([0; STACK]);

/// Gates of two words of 64 bits, or of one.
static mut GATES: [[usize; 2]; 32] = [[0; 2]; 32];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: usize,
}

unsafe extern "C" {
    fn page_fault();
    fn other_fault();
}

/// Page faults come to the probes, all others end the run.
fn load_gates() {
    for vector in 0..32 {
        let handler = if vector == 14 { page_fault } else { other_fault } as unsafe extern "C" fn();
        let handler = handler as usize;
        // Code segment 8, an interrupt gate of ring 0.
        let low = handler as u64 & 0xFFFF | 8 << 16 | 0x8E00 << 32 | (handler as u64 >> 16 & 0xFFFF) << 48;
        let gate = if size_of::<usize>() == 8 {
            [low as usize, (handler as u64 >> 32) as usize]
        } else {
            [low as usize, (low >> 32) as usize]
        };
        // SAFETY: one CPU, no gate in use yet.
        unsafe { (&raw mut GATES[vector]).write(gate) };
    }
    let pointer =
        Pointer { limit: (32 * 2 * size_of::<usize>() - 1) as u16, base: (&raw const GATES).addr() };
    // SAFETY: the gates live for ever.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}

extern "C" fn begin() -> ! {
    load_gates();
    crate::program()
}

extern "C" fn unexpected(first: usize, second: usize, third: usize) -> ! {
    panic!("exception, with {first:#x}, {second:#x}, {third:#x} on the stack, CR2 {:#x}", fault_address())
}

fn fault_address() -> usize {
    let address;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    address
}

/// What the last page fault was: bit 0 of its code says that a page is there, 1 that it was a write, 3 that an entry has
/// reserved bits, 4 that it was a fetch (SDM 3A, 4.7, now 5.7). The probe set bit 31.
fn fault(code: u32) -> Fault {
    let address = fault_address();
    assert!(code & 8 == 0, "an entry with reserved bits, for {address:#x}");
    let kind = match (code & 0x10 != 0, code & 2 != 0) {
        (true, _) => AccessKind::Execute,
        (_, true) => AccessKind::Write,
        _ => AccessKind::Read,
    };
    Fault { address: address as u64, kind, present: Some(code & 1 != 0) }
}

/// The flag AC on, or off.
pub fn open(key: bool) {
    // SAFETY: nothing but the probes touches pages of the user; alignment is checked in user mode alone.
    unsafe { if key { asm!("stac", options(nostack)) } else { asm!("clac", options(nostack)) } };
}

pub fn read(address: u64) -> Result<u32, Fault> {
    let mut value = 0;
    // SAFETY: a fault goes on behind the probe; the caller answers for what is mapped.
    let code = unsafe { probe_read(address as usize, &mut value) };
    if code == 0 { Ok(value) } else { Err(fault(code)) }
}

pub fn write(address: u64, mut value: u32) -> Result<(), Fault> {
    // SAFETY: as for `read`.
    let code = unsafe { probe_write(address as usize, &mut value) };
    if code == 0 { Ok(()) } else { Err(fault(code)) }
}

/// Calls the function that pages begin with.
pub fn execute(address: u64) -> Result<(), Fault> {
    // SAFETY: as for `read`; the function does nothing.
    let code = unsafe { probe_execute(address as usize) };
    if code == 0 { Ok(()) } else { Err(fault(code)) }
}

/// Stores are seen in order.
pub fn begin_flush() {}

pub fn drop_page(address: u64) {
    // SAFETY: drops a translation.
    unsafe { asm!("invlpg [{}]", in(reg) address as usize, options(nostack)) };
}

/// A root that is loaded drops all but global pages, a change of CR4.PGE these too.
pub fn drop_all(global: bool) {
    if !global {
        return reload();
    }
    // SAFETY: drops translations.
    unsafe {
        asm!(
            "mov {with}, cr4",
            "mov {without}, {with}",
            "and {without}, {mask}",
            "mov cr4, {without}",
            "mov cr4, {with}",
            with = out(reg) _,
            without = out(reg) _,
            mask = in(reg) !PGE,
            options(nostack)
        )
    };
}

pub fn end_flush() {}
