//! Dropping translations, here and on all other CPUs, which the firmware interrupts (SBI, remote fences).
use core::arch::asm;

use super::sbi;

/// Drops the translations of `[start, end)` on this CPU.
pub fn here(start: u64, end: u64) {
    if end - start > 64 << 12 {
        // SAFETY: drops translations.
        return unsafe { asm!("sfence.vma", options(nostack)) };
    }
    for page in (start..end).step_by(1 << 12) {
        // SAFETY: drops a translation.
        unsafe { asm!("sfence.vma {}, zero", in(reg) page, options(nostack)) };
    }
}

/// Drops the translations of `[start, end)` on every CPU.
pub fn everywhere(start: u64, end: u64) {
    here(start, end);
    // All harts: mask base −1.
    let error = sbi(0x5246_4E43, 1, [0, usize::MAX, start as usize, (end - start) as usize, 0]);
    assert!(error == 0, "the firmware refused a remote fence: {error}");
}
