//! Sizes: the tables, and how long it takes to begin.

use crate::clock::thread_ns;
use crate::figures::{Bound, Figure};
use crate::frames::{Buddy, Memory, Subject, words};
use crate::rounds::median;

/// Bytes a frame, and the time to begin with 64 GiB in tables that were touched before.
///
/// # Panics
/// There is no such address space.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let bytes = |frames: usize| (words(frames) * 8) as f64 / frames as f64;
    let mut memory = Memory::new(1 << 24).expect("address space");
    let mut begin = || {
        let start = thread_ns();
        // SAFETY: the memory is ours, and the subject is gone at the end of the closure.
        let subject = unsafe { Buddy::build(&mut memory) };
        let ns = thread_ns() - start;
        assert!(subject.is_some(), "64 GiB are not too much");
        ns as f64 / 1e6
    };
    begin();
    let times: Vec<f64> = (0..rounds).map(|_| begin()).collect();
    vec![
        Figure::value("frames: bytes of tables a frame, 1 GiB", bytes(1 << 18), Bound::AtMost(0.16)),
        Figure::value("frames: bytes of tables a frame, 64 GiB", bytes(1 << 24), Bound::AtMost(0.16)),
        Figure {
            timed: true,
            ..Figure::value(
                "frames: ms to begin with 64 GiB",
                median(&times).unwrap_or(f64::NAN),
                Bound::AtMost(2.0),
            )
        },
    ]
}
