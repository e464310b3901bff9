//! Tables against a map of pages, in every format and on geometries small enough to try everything.

mod examples;
mod exhaustive;
mod random;
mod world;
