//! Which page goes when memory is short: policies over numbered places, each a small type.
//!
//! ```text
//!   fault ──► insert(place)        victim() ──► place ──► swap it out, remove(place)
//!   accessed bits, harvested ──► touch(place) …, tick()
//! ```
//! A *place* is one of the pages that may be resident: the number of a frame, or of an entry of a table of resident
//! pages, below the length of the slice that the policy is made of. A policy knows no page tables. A simulation calls
//! [`insert`](Policy::insert) or [`touch`](Policy::touch) for each reference; a kernel calls `touch` for what
//! a harvest reports as accessed, and then [`tick`](Policy::tick).
//!
//! | policy | forgets | a victim costs |
//! |---|---|---|
//! | [`Fifo`] | who came first | O(1) |
//! | [`Clock`] | who came first, unless it was used since the hand's last visit | O(1) on average, O(n) at worst |
//! | [`Aging`] | who was used the least in the last 32 ticks | O(n) |
//! | [`Lru<1>`](Lru) | who was used the longest ago | O(n) |
//! | [`Lru<2>`](Lru) | whose use before the last is the longest ago: a scan evicts nothing that is used often | O(n) |
//! | [`Optimal`] | who will be used the latest: needs the future, and shows what could be had | O(n) |
#![forbid(unsafe_code)]

mod aging;
mod clock;
mod fifo;
mod lru;
mod optimal;

pub use aging::{Age, Aging};
pub use clock::Clock;
pub use fifo::{Fifo, Links};
pub use lru::Lru;
pub use optimal::Optimal;

/// Chooses who goes. Places that are out of range are ignored, as are double insertions and removals.
pub trait Policy {
    /// A page came to this place.
    fn insert(&mut self, place: usize);

    /// The page at this place was used.
    fn touch(&mut self, place: usize);

    /// The page at this place went: it was a victim, or unmapped.
    fn remove(&mut self, place: usize);

    /// Who should go; `None` if nobody is there. It stays until it is removed, and might be chosen again.
    fn victim(&mut self) -> Option<usize>;

    /// A period of time is over.
    fn tick(&mut self) {}
}
