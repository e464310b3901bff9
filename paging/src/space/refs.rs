//! How many mappings use a frame: what copy-on-write and the last unmap decide by.
//!
//! ```text
//!   frame      7   8   9  10  11
//!   count    [ 1 │ 2 │ 0 │ 1 │ 3 ]      8 and 11 are shared: a write copies; 9 is free
//! ```
//! Each mapping of a frame counts once, and so does each cache that keeps it: a page cache's count makes sure that nobody
//! takes its frame for his own.
#![expect(unsafe_code, reason = "declares and implements an unsafe trait")]

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
