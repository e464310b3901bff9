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
        self.counts.get(usize::try_from(frame.number().checked_sub(self.first)?).ok()?)
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
    /// Counts one user more of each frame by `add`; if a count is at its limit, none.
    #[inline]
    fn count_up(&self, run: FrameRun, add: impl Fn(&AtomicU32)) -> Result<(), TooManyUsers> {
        let counts = self.counts_of(run);
        for (nth, count) in counts.iter().enumerate() {
            if count.load(Ordering::Relaxed) >= MOST {
                for count in &counts[..nth] {
                    count.fetch_sub(1, Ordering::Release);
                }
                let first = run.first().number().max(self.first);
                return Err(TooManyUsers { frame: Frame::new(first.saturating_add(nth as u64)) });
            }
            add(count);
        }
        Ok(())
    }
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

    #[inline]
    fn share(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        self.count_up(run, |count| {
            let users = count.load(if cfg!(hectare_plant = "refs_share_relaxed") {
                Ordering::Relaxed
            } else {
                Ordering::Acquire
            });
            if users == 1 || cfg!(hectare_plant = "refs_share_plain") {
                count.store(users + 1, Ordering::Relaxed);
            } else {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    #[inline]
    fn join(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        self.count_up(run, |count| {
            count.fetch_add(1, Ordering::Relaxed);
        })
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
