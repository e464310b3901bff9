//! Tables against a map of pages, in every format and on geometries small enough to try everything.

mod asid;
mod examples;
mod exhaustive;
mod many;
mod peers;
mod random;
mod shared;
mod watched;
mod world;
