//! The figures of objects and of the heap of size classes.
//!
//! | rows | module |
//! |---|---|
//! | pairs through a cache's front array: an ideal array, slabmalloc, malloc | [`pairs`] |
//! | recorded kernel objects | [`recorded`] |
//! | recorded programs through the heap of size classes: time, smallest heap, what comes back | [`classes`] |
//! | many threads that take and give back one small box | [`crowd`] |

pub mod classes;
pub mod crowd;
pub mod pairs;
pub mod recorded;

use super::{Bound, Figure};

/// Times of which less is better: the ratio is ours over the other's, as the bounds are said.
fn timed(figure: impl Into<String>, ours: f64, other: f64, bound: Bound) -> Figure {
    Figure { timed: true, ..Figure::beside(figure, ours, other, bound) }
}
