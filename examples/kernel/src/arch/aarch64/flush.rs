//! Dropping translations, here and, by the hardware's broadcast, on all other CPUs.
use core::arch::asm;

/// More pages than this are dropped with all others.
const SINGLE: u64 = 64;

/// Drops the translations of `[start, end)` on this CPU.
pub fn here(start: u64, end: u64) {
    // SAFETY: drops translations, after the stores that changed them.
    unsafe { asm!("dsb nshst", options(nostack)) };
    if end - start > SINGLE << 12 {
        // SAFETY: as above.
        unsafe { asm!("tlbi vmalle1", options(nostack)) };
    } else {
        for page in (start..end).step_by(1 << 12) {
            // SAFETY: as above; the operand is the page's number.
            unsafe { asm!("tlbi vaae1, {}", in(reg) page >> 12, options(nostack)) };
        }
    }
    // SAFETY: waits for them.
    unsafe { asm!("dsb nsh", "isb", options(nostack)) };
}

/// Drops the translations of `[start, end)` on every CPU.
pub fn everywhere(start: u64, end: u64) {
    // SAFETY: drops translations, after the stores that changed them.
    unsafe { asm!("dsb ishst", options(nostack)) };
    if end - start > SINGLE << 12 {
        // SAFETY: as above.
        unsafe { asm!("tlbi vmalle1is", options(nostack)) };
    } else {
        for page in (start..end).step_by(1 << 12) {
            // SAFETY: as above; the operand is the page's number.
            unsafe { asm!("tlbi vaae1is, {}", in(reg) page >> 12, options(nostack)) };
        }
    }
    // SAFETY: waits until all CPUs have done it.
    unsafe { asm!("dsb ish", "isb", options(nostack)) };
}
