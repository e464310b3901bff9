//! Dropping translations, here and on all other CPUs (volume 3, 4.10).
use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hectare_core::{RawLock, SpinLock};

use super::apic;
use super::traps::MESSAGE;
use crate::cpus;

/// One shootdown at a time: the range that the others drop, and how many still have to.
static TURN: SpinLock = SpinLock::new();
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Drops the translations of `[start, end)` on this CPU; of all addresses if that is cheaper.
pub fn here(start: u64, end: u64) {
    if end - start > 64 << 12 {
        // SAFETY: the same root again: drops all but global translations, of which there are none.
        return unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
    }
    for page in (start & !0xFFF..end).step_by(1 << 12) {
        // SAFETY: drops a translation.
        unsafe { asm!("invlpg [{}]", in(reg) page, options(nostack)) };
    }
}

/// Drops the translations of `[start, end)` on every CPU. Interrupts must be on, here and there.
pub fn everywhere(start: u64, end: u64) {
    let _ = TURN.with(|| {
        START.store(start, Ordering::Relaxed);
        END.store(end, Ordering::Relaxed);
        LEFT.store(cpus::online() - 1, Ordering::Release);
        here(start, end);
        apic::interrupt_others(MESSAGE);
        while LEFT.load(Ordering::Acquire) > 0 {
            core::hint::spin_loop();
        }
    });
}

/// The other CPUs' part.
pub fn answer() {
    here(START.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
    LEFT.fetch_sub(1, Ordering::Release);
}
