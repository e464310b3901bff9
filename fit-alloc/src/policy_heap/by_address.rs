//! First, next and last fit: by the sections' largest holes.
#![forbid(unsafe_code)]

use hectare_core::Violation;

use super::index::{HoleIndex, Order, Place, Reach, Request};
use super::map;
use super::memory::{Hole, Memory};
use super::sections::Sections;

/// The holes by address.
#[derive(Clone, Copy, Debug)]
struct ByAddress(Sections);

impl ByAddress {
    const EMPTY: Self = Self(Sections::EMPTY);

    fn over(sections: usize) -> (Self, usize) {
        let (sections, entries) = Sections::over(sections);
        (Self(sections), entries)
    }

    /// Brings the sections of these granules up to date.
    #[inline(always)]
    fn settle(self, memory: &mut Memory, starts: [u32; 3]) {
        let [first, second, third] = starts.map(map::section);
        self.refresh(memory, first);
        if second != first && starts[1] != 0 {
            self.refresh(memory, second);
        }
        if third != first && third != second && starts[2] != 0 {
            self.refresh(memory, third);
        }
    }

    #[inline(always)]
    fn refresh(self, memory: &mut Memory, section: usize) {
        let largest = largest_in(memory, section);
        self.0.update(memory.table_mut(), section, largest);
    }

    /// The lowest hole of at least `size` that begins at or after `from`.
    #[inline(always)]
    fn first(self, memory: &Memory, from: u32, size: u32) -> Option<Hole> {
        let section = self.0.first(memory.table(), map::section(from), size)?;
        let fits = |hole: &Hole| hole.size >= size && hole.start >= from;
        if let Some(hole) = memory.holes_in(section).find(fits) {
            return Some(hole);
        }
        // The section's holes of that size begin before `from`: only the first section can have such.
        let section = self.0.first(memory.table(), section + 1, size)?;
        memory.holes_in(section).find(fits)
    }

    /// The highest hole of at least `size` that begins before `below`.
    #[inline(always)]
    fn last(self, memory: &Memory, below: u32, size: u32) -> Option<Hole> {
        let section = self.0.last(memory.table(), map::section(below.checked_sub(1)?), size)?;
        let fits = |hole: &Hole| hole.size >= size && hole.start < below;
        if let Some(hole) = memory.holes_in(section).filter(fits).last() {
            return Some(hole);
        }
        let section = self.0.last(memory.table(), section.checked_sub(1)?, size)?;
        memory.holes_in(section).filter(fits).last()
    }

    /// The lowest hole with a place that begins at or after `from`. One step for each hole that is large enough.
    fn first_place(self, memory: &Memory, from: u32, request: &Request) -> Option<Place> {
        let mut from = from;
        loop {
            let hole = self.first(memory, from, request.size)?;
            if let Some(at) = request.lowest_in(hole) {
                return Some(Place { hole, at });
            }
            // Not back, even if a broken size says so.
            from = hole.end().max(hole.start + 1);
        }
    }

    fn check(self, memory: &Memory) -> Result<(), Violation> {
        self.0.check(memory.table(), map::words(memory.span()), |section| largest_in(memory, section))
    }
}

fn largest_in(memory: &Memory, section: usize) -> u32 {
    memory.holes_in(section).fold(0, |largest, hole| largest.max(hole.size))
}

#[inline(always)]
fn at_start(hole: Hole) -> Place {
    Place { hole, at: hole.start }
}

macro_rules! by_address {
    ($($(#[$doc:meta])* $index:ident, $order:ident { $($special:item)* })*) => {$(
        impl HoleIndex for $index {
            const ORDER: Order = Order::$order;

            fn detach(&mut self, _: &mut Memory, _: Hole) {}

            #[inline(always)]
            fn settle(&mut self, memory: &mut Memory, starts: [u32; 3]) {
                self.holes.settle(memory, starts);
            }

            fn largest(&self, memory: &Memory) -> u32 {
                self.holes.0.largest(memory.table())
            }

            fn check(&self, memory: &Memory, _: u32) -> Result<(), Violation> {
                self.holes.check(memory)
            }

            fn holds(&self, memory: &Memory, hole: Hole) -> bool {
                memory.holes_in(map::section(hole.start)).any(|other| other == hole)
            }

            $($special)*
        }
    )*};
}

/// First fit's holes.
#[derive(Clone, Copy, Debug)]
pub struct First {
    holes: ByAddress,
}

/// Last fit's holes.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    holes: ByAddress,
}

/// Next fit's holes, and the rover.
///
/// Invariant: no hole begins before the rover and ends after it. A hole that comes to lie around the rover pulls it
/// down to its start: the search that begins there sees the same holes.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    holes: ByAddress,
    rover: u32,
}

by_address! {
    First, Lowest {
        const EMPTY: Self = Self { holes: ByAddress::EMPTY };

        fn over(sections: usize) -> (Self, usize) {
            let (holes, entries) = ByAddress::over(sections);
            (Self { holes }, entries)
        }

        #[inline(always)]
        fn attach(&mut self, _: &mut Memory, _: Hole) {}

        #[inline(always)]
        fn find(&mut self, memory: &Memory, size: u32, _: Reach) -> Option<Place> {
            self.holes.first(memory, 0, size).map(at_start)
        }

        fn find_aligned(&mut self, memory: &Memory, request: &Request, _: Reach) -> Option<Place> {
            self.holes.first_place(memory, 0, request)
        }
    }

    Last, Highest {
        const EMPTY: Self = Self { holes: ByAddress::EMPTY };

        fn over(sections: usize) -> (Self, usize) {
            let (holes, entries) = ByAddress::over(sections);
            (Self { holes }, entries)
        }

        #[inline(always)]
        fn attach(&mut self, _: &mut Memory, _: Hole) {}

        #[inline(always)]
        fn find(&mut self, memory: &Memory, size: u32, _: Reach) -> Option<Place> {
            let hole = self.holes.last(memory, memory.span(), size)?;
            Some(Place { hole, at: hole.end().wrapping_sub(size) })
        }

        fn find_aligned(&mut self, memory: &Memory, request: &Request, _: Reach) -> Option<Place> {
            let mut below = memory.span();
            loop {
                let hole = self.holes.last(memory, below, request.size)?;
                if let Some(at) = request.highest_in(hole) {
                    return Some(Place { hole, at });
                }
                below = hole.start;
            }
        }
    }

    Next, Round {
        const EMPTY: Self = Self { holes: ByAddress::EMPTY, rover: 0 };

        fn over(sections: usize) -> (Self, usize) {
            let (holes, entries) = ByAddress::over(sections);
            (Self { holes, rover: 0 }, entries)
        }

        #[inline(always)]
        fn attach(&mut self, _: &mut Memory, hole: Hole) {
            if hole.start < self.rover && self.rover < hole.end() {
                self.rover = hole.start;
            }
        }

        #[inline(always)]
        fn find(&mut self, memory: &Memory, size: u32, reach: Reach) -> Option<Place> {
            let from = if reach == Reach::Onward { self.rover } else { 0 };
            self.holes.first(memory, from, size).map(at_start)
        }

        fn find_aligned(&mut self, memory: &Memory, request: &Request, reach: Reach) -> Option<Place> {
            let from = if reach == Reach::Onward { self.rover } else { 0 };
            self.holes.first_place(memory, from, request)
        }

        fn placed(&mut self, end: u32) {
            self.rover = end;
        }
    }
}
