//! The smallest heap in which a program never meets a refusal.

use super::program::Program;
use super::replay::replay;
use crate::arena::Arena;
use crate::subject::Subject;

/// Beyond this many times the peak the search gives up.
pub const CAP: f64 = 8.0;

/// The search ends when success and failure are this close, relative to the peak.
const PRECISION: f64 = if cfg!(hectare_plant = "smallest_precision") { 0.05 } else { 0.005 };

/// The least arena in which the program runs without a refusal, plus the allocator's own value, over the peak of live
/// requested bytes; to half a per cent. `None` above [`CAP`]. `guess` is where to begin, in the same unit.
///
/// It is a bisection: it finds *a* border between refusal and success. An allocator may still fail somewhere above it.
pub fn smallest_ratio<S: Subject>(program: &Program, arena: &mut Arena, guess: f64) -> Option<f64> {
    let peak = program.peak_bytes() as f64;
    if peak == 0.0 {
        return None;
    }
    let state = size_of::<S>() as f64 / peak;
    search(guess, |ratio| {
        let bytes = ((ratio - state) * peak) as usize / 64 * 64;
        bytes > 0 && bytes <= arena.length() && runs::<S>(program, arena, bytes)
    })
}

/// The least ratio that fits, to half a per cent, beginning the search at `guess`; `None` above [`CAP`].
pub(crate) fn search(guess: f64, mut fits: impl FnMut(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (1.0, guess.clamp(1.0 + PRECISION, CAP));
    let mut step = 2.0 * PRECISION;
    if fits(high) {
        // Gallop down to a failure.
        while high - step > low {
            if !fits(high - step) {
                low = high - step;
                break;
            }
            high -= step;
            step *= 2.0;
        }
    } else {
        // Gallop up to a success.
        loop {
            low = high;
            if low >= CAP {
                return None;
            }
            high = (low + step).min(CAP);
            step *= 2.0;
            if fits(high) {
                break;
            }
        }
    }
    while high - low > PRECISION {
        let middle = f64::midpoint(low, high);
        if fits(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// Whether the program runs in this arena without a refusal.
fn runs<S: Subject>(program: &Program, arena: &mut Arena, bytes: usize) -> bool {
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let Some(mut subject) = (unsafe { S::build(arena.region(bytes)) }) else { return false };
    let mut blocks = vec![core::ptr::null_mut(); program.slots()];
    program.ops().chunks(1024).all(|ops| replay(&mut *subject, ops, &mut blocks) == 0)
}
