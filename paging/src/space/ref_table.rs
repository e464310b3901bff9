//! The counts of users of frames as a table of words.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use hectare_core::sync::atomic::{AtomicU32, Ordering};
use hectare_core::{Frame, FrameRun};

use super::{FrameRefs, TooManyUsers};

/// One word for each frame of a range. Frames outside are not counted, and never anybody's last: a device's.
///
/// A frame with a single user costs no locked instruction: who holds the only reference is the only one who may make
/// another, or give it up, so that a plain load and store do.
#[derive(Clone, Copy, Debug)]
pub struct RefTable<'a> {
    first: u64,
    counts: &'a [AtomicU32],
}

/// More users than this are refused: half of what the word holds, so that no race reaches its end.
const MOST: u32 = u32::MAX / 2;

impl<'a> RefTable<'a> {
    /// Counts the frames from `first` on, as many as there are words, all 0.
    #[must_use]
    pub const fn new(first: Frame, counts: &'a [AtomicU32]) -> Self {
        Self { first: first.number(), counts }
    }

    /// How many users a frame has; `None` if it is not counted. Others may change it at any time.
    #[must_use]
    pub fn users(&self, frame: Frame) -> Option<u32> {
        self.count(frame).map(|count| count.load(Ordering::Relaxed))
    }

    #[inline]
    fn count(&self, frame: Frame) -> Option<&AtomicU32> {
        // What lies below wraps far above the end.
        self.counts.get(usize::try_from(frame.number().wrapping_sub(self.first)).ok()?)
    }

    /// The words of the frames of a run that are counted.
    #[inline]
    fn counts_of(&self, run: FrameRun) -> &[AtomicU32] {
        let end = run.end().number().saturating_sub(self.first).min(self.counts.len() as u64);
        let start = run.first().number().saturating_sub(self.first).min(end);
        // Both are at most the length of the slice.
        let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
        self.counts.get(start..end).unwrap_or(&[])
    }
}

impl RefTable<'_> {
    /// Counts one user more of each frame of a run but the first `done`, which were counted already; if a count is at its
    /// limit, none of all.
    #[inline(always)]
    fn count_up(
        &self,
        run: FrameRun,
        counts: &[AtomicU32],
        done: usize,
        add: impl Fn(&AtomicU32) -> bool,
    ) -> Result<(), TooManyUsers> {
        match counts.iter().skip(done).position(|count| !add(count)) {
            None => Ok(()),
            Some(nth) => Err(self.too_many(run, counts, done + nth)),
        }
    }

    /// Takes back what was counted for the first `nth` frames of a run.
    #[cold]
    fn too_many(&self, run: FrameRun, counts: &[AtomicU32], nth: usize) -> TooManyUsers {
        for count in counts.iter().take(nth) {
            count.fetch_sub(1, Ordering::Release);
        }
        let first = run.first().number().max(self.first);
        TooManyUsers { frame: Frame::new(first.saturating_add(nth as u64)) }
    }
}

/// Counts one user more by a locked instruction, unless the count is at its limit.
#[inline]
fn add_one(count: &AtomicU32) -> bool {
    if count.load(Ordering::Relaxed) >= MOST {
        return false;
    }
    count.fetch_add(1, Ordering::Relaxed);
    true
}

// SAFETY: (1) a count is the number of users: a plain store is made only while it is 1 and the caller is that user, so
// that nobody else may change it; otherwise one atomic addition or subtraction does, and who takes the last one away sees
// that. (2) Every subtraction is a release, and every read that finds 1 an acquire. Between a subtraction and such a read
// there are only further read-modify-writes, which go on with its release sequence, or a plain store by somebody who had
// acquired it.
unsafe impl FrameRefs for RefTable<'_> {
    #[inline]
    fn adopt(&self, run: FrameRun) {
        self.counts_of(run).iter().for_each(|count| count.store(1, Ordering::Relaxed));
    }

    #[inline(always)]
    fn share(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        let order =
            if cfg!(hectare_plant = "refs_share_relaxed") { Ordering::Relaxed } else { Ordering::Acquire };
        let add = |count: &AtomicU32| {
            let users = count.load(order);
            if users == 1 || cfg!(hectare_plant = "refs_share_plain") {
                count.store(users + 1, Ordering::Relaxed);
                return true;
            }
            add_one(count)
        };
        if run.count() == 1 {
            return match self.count(run.first()) {
                Some(count) if !add(count) => Err(TooManyUsers { frame: run.first() }),
                _ => Ok(()),
            };
        }
        let counts = self.counts_of(run);
        let mut done = 0;
        for eight in counts.chunks_exact(8) {
            // Eight that are the caller's alone cost one decision. None is 0, since he is a user of each; so all are 1 if no
            // other bit is set.
            if eight.iter().fold(0, |bits, count| bits | count.load(order)) != 1 {
                break;
            }
            eight.iter().for_each(|count| count.store(2, Ordering::Relaxed));
            done += 8;
        }
        self.count_up(run, counts, done, add)
    }

    #[inline]
    fn join(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        self.count_up(run, self.counts_of(run), 0, add_one)
    }

    #[inline]
    fn release(&self, frame: Frame) -> bool {
        let Some(count) = self.count(frame) else { return false };
        match count.load(Ordering::Acquire) {
            0 => false,
            1 => {
                count.store(0, Ordering::Relaxed);
                true
            }
            _ => {
                let order =
                    if cfg!(hectare_plant = "refs_relaxed") { Ordering::Relaxed } else { Ordering::AcqRel };
                count.fetch_sub(1, order) == 1
            }
        }
    }

    #[inline]
    fn is_sole(&self, frame: Frame) -> bool {
        self.count(frame).is_some_and(|count| count.load(Ordering::Acquire) == 1)
    }
}
