//! How many mappings use a frame: what copy-on-write and the last unmap decide by.
//!
//! ```text
//!   frame      7   8   9  10  11
//!   count    [ 1 │ 2 │ 0 │ 1 │ 3 ]      8 and 11 are shared: a write copies; 9 is free
//! ```
//! Each mapping of a frame counts once, and so does each cache that keeps it: a page cache's count makes sure that nobody
//! takes its frame for his own.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

use hectare_core::sync::atomic::{AtomicU32, Ordering};
use hectare_core::{Frame, FrameRun};
use thiserror::Error;

/// A frame has as many users as can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{frame:?} has as many users as can be counted")]
pub struct TooManyUsers {
    /// Which.
    pub frame: Frame,
}

/// Counts of users of frames, shared by all address spaces.
///
/// # Safety
/// The implementer promises that (1) [`release`](Self::release) returns `true` for exactly one of the users that
/// [`adopt`](Self::adopt) and [`share`](Self::share) counted, the last; (2) what the others did to the frame before they
/// released it *happens before* that return, and before [`is_sole`](Self::is_sole) returns `true`.
pub unsafe trait FrameRefs {
    /// Frames just taken from their source: each has one user, the caller. Frames that are not counted are ignored.
    fn adopt(&self, run: FrameRun);

    /// One user more for each frame of a run. The caller is a user of each, and nobody else shares or releases *his*
    /// reference meanwhile.
    ///
    /// # Errors
    /// A count is at its limit. Nothing is changed.
    fn share(&self, run: FrameRun) -> Result<(), TooManyUsers>;

    /// One user more for each frame of a run, of each of which somebody else, a pager, is a user during the call. Others
    /// may do the same for the same frames.
    ///
    /// # Errors
    /// A count is at its limit. Nothing is changed.
    fn join(&self, run: FrameRun) -> Result<(), TooManyUsers>;

    /// One user less: the caller. Whether it was the last: the frame is the caller's then, to be given back.
    ///
    /// Of a frame that is not counted, or has no user, nobody is the last.
    #[must_use = "the last user gives the frame back"]
    fn release(&self, frame: Frame) -> bool;

    /// Whether the caller, who is a user, is the only one. It stays so as long as he does not share the frame.
    fn is_sole(&self, frame: Frame) -> bool;
}

// SAFETY: the inner one keeps the promises.
unsafe impl<R: FrameRefs + ?Sized> FrameRefs for &R {
    fn adopt(&self, run: FrameRun) {
        (**self).adopt(run);
    }

    fn share(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        (**self).share(run)
    }

    fn join(&self, run: FrameRun) -> Result<(), TooManyUsers> {
        (**self).join(run)
    }

    fn release(&self, frame: Frame) -> bool {
        (**self).release(frame)
    }

    fn is_sole(&self, frame: Frame) -> bool {
        (**self).is_sole(frame)
    }
}

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
