//! Dropping translations, here and on all other CPUs (volume 3, 4.10).
//!
//! ```text
//!   who asks:   range ─► round + 1 ─► message to all ─► wait until each has answered this round
//!   the others:                        round, range ─► drop ─► answered = round
//! ```
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use hectare_core::RawLock;

use super::apic;
use super::traps::MESSAGE;
use crate::cpus::{self, CPUS, Lock};

/// One shootdown at a time.
static TURN: Lock = Lock::new();
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static ROUND: AtomicU64 = AtomicU64::new(0);
static ANSWERED: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];

/// Drops the translations of `[start, end)` on this CPU; of all addresses if that is cheaper.
pub fn here(start: u64, end: u64) {
    if end - start > 64 << 12 {
        // SAFETY: the same root again: drops all but global translations, of which there are none.
        return unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
    }
    for page in (start..end).step_by(1 << 12) {
        // SAFETY: drops a translation.
        unsafe { asm!("invlpg [{}]", in(reg) page, options(nostack)) };
    }
}

/// Drops the translations of `[start, end)` on every CPU. Interrupts must be on, here and there.
pub fn everywhere(start: u64, end: u64) {
    let _ = TURN.with(|| {
        START.store(start, Ordering::Relaxed);
        END.store(end, Ordering::Relaxed);
        let round = ROUND.fetch_add(1, Ordering::Release) + 1;
        here(start, end);
        let others = || (0..cpus::online()).filter(|other| *other != super::cpu());
        // QEMU 7.2 with a thread for each CPU sometimes leaves a message pending until the next one comes.
        let mut patience = 0_u32;
        while others().any(|other| ANSWERED[other].load(Ordering::Acquire) < round) {
            if patience % 0x4000 == 0 {
                apic::interrupt_others(MESSAGE);
            }
            patience += 1;
            super::relax();
        }
    });
}

/// The other CPUs' part. A message that comes twice does no harm.
pub fn answer() {
    let round = ROUND.load(Ordering::Acquire);
    here(START.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
    ANSWERED[super::cpu()].store(round, Ordering::Release);
}
