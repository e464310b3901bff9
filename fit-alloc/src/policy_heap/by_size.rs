//! Best and worst fit: all holes by exact size, in tries whose nodes are the holes themselves.
//!
//! ```text
//!  classes   1 2 3 … 63 │ 64–67 │ 68–71 │ … │ 124–127 │ 128–135 │ …        sixteen for each octave from 64 granules up
//!                  │          │
//!                  ▼          ▼  66 ◄─► 66         a ring for holes of one size: the oldest is in the trie,
//!                  63 ◄─► 63  ┌┴─┐                 the newest, which is taken first, is `back` of it
//!                            64  67                below: by the next lower bit of the size
//! ```
//! Any hole of a subtree may stand at its top, so that a removal only ever moves one leaf. A class of holes of `2^s`
//! sizes is at most s + 1 deep: no search visits more than two paths.
#![forbid(unsafe_code)]

use hectare_core::Violation;

mod trie;

use trie::{at_least_in, at_most_in, count, extreme, newest};

use super::index::{HoleIndex, Order, Place, Reach, Request};
use super::memory::Field::{Back, Left, Next, Right, Up};
use super::memory::{Field, Hole, Memory};

/// Sizes below this have a class each.
const EXACT: u32 = 64;
/// Classes for each octave above, as a logarithm.
const LOG2_SUB: u32 = 4;
/// Classes: the exact ones, and those of the octaves from 2^6 to 2^31.
const CLASSES: usize = EXACT as usize + (26 << LOG2_SUB);
/// `Up` of a hole that is its class's first.
const ROOT: u32 = u32::MAX;
/// `Up` of a hole that is in a ring and not in the trie.
const RING: u32 = u32::MAX - 1;

/// The class of a size, and how many low bits of it the class leaves open.
#[inline(always)]
fn class_of(size: u32) -> (usize, u32) {
    if size < EXACT {
        return (size as usize, 0);
    }
    let shift = size.ilog2() - LOG2_SUB;
    let rows = (shift + LOG2_SUB - EXACT.ilog2()) << LOG2_SUB;
    let class = EXACT + rows + (size >> shift & ((1 << LOG2_SUB) - 1));
    (class as usize, shift)
}

/// See the [module](self).
///
/// Invariants:
/// * P1: every hole is in the trie or in the ring of its size, exactly once;
/// * P2: a class's bit is set exactly if it has a hole.
#[derive(Clone, Copy, Debug)]
struct BySize {
    occupied: [u64; CLASSES.div_ceil(64)],
    heads: [u32; CLASSES],
}

impl BySize {
    const EMPTY: Self = Self { occupied: [0; CLASSES.div_ceil(64)], heads: [0; CLASSES] };

    #[inline(always)]
    fn head(&self, class: usize) -> u32 {
        self.heads.get(class).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn set_head(&mut self, class: usize, head: u32) {
        if let (Some(place), Some(bits)) = (self.heads.get_mut(class), self.occupied.get_mut(class / 64)) {
            *place = head;
            *bits = *bits & !(1 << (class % 64)) | u64::from(head != 0) << (class % 64);
        }
    }

    /// The lowest class above this one that has a hole.
    #[inline(always)]
    fn above(&self, class: usize) -> Option<usize> {
        let from = class + 1;
        let mut mask = u64::MAX << (from % 64);
        for (word, bits) in self.occupied.iter().enumerate().skip(from / 64) {
            if bits & mask != 0 {
                return Some(word * 64 + (bits & mask).trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// The highest class below this one that has a hole.
    fn below(&self, class: usize) -> Option<usize> {
        let mut mask = !(u64::MAX << (class % 64));
        for (word, bits) in self.occupied.iter().enumerate().take(class / 64 + 1).rev() {
            let bits = if word == class / 64 { bits & mask } else { *bits };
            mask = u64::MAX;
            if let Some(bit) = bits.checked_ilog2() {
                return Some(word * 64 + bit as usize);
            }
        }
        None
    }

    #[inline(always)]
    fn insert(&mut self, m: &mut Memory, hole: Hole) {
        let Hole { start: at, size } = hole;
        let (class, shift) = class_of(size);
        m.set(at, Next, at);
        m.set(at, Back, at);
        let mut top = self.head(class);
        if top == 0 {
            self.set_head(class, at);
            return self.plant(m, at, ROOT);
        }
        let mut bit = shift;
        while m.get(top, Field::Size) != size {
            if bit == 0 {
                // Only a broken trie leads here: sizes of one class differ in its open bits.
                return;
            }
            bit -= 1;
            let side = if size >> bit & 1 == 0 { Left } else { Right };
            let below = m.get(top, side);
            if below == 0 {
                m.set(top, side, at);
                return self.plant(m, at, top);
            }
            top = below;
        }
        // Into the ring, as the newest.
        let newest = m.get(top, Back);
        m.set(newest, Next, at);
        m.set(at, Back, newest);
        m.set(at, Next, top);
        m.set(top, Back, at);
        if shift > 0 {
            m.set(at, Up, RING);
        }
    }

    /// Makes a hole a leaf below another.
    #[inline(always)]
    fn plant(&self, m: &mut Memory, hole: u32, up: u32) {
        // Those of the exact classes have no such words, and need none.
        if m.get(hole, Field::Size) >= EXACT {
            m.set(hole, Up, up);
            m.set(hole, Left, 0);
            m.set(hole, Right, 0);
        }
    }

    #[inline(always)]
    fn remove(&mut self, m: &mut Memory, hole: Hole) {
        let Hole { start: at, size } = hole;
        let (class, shift) = class_of(size);
        let (next, back) = (m.get(at, Next), m.get(at, Back));
        m.set(back, Next, next);
        m.set(next, Back, back);
        let first = if shift == 0 { self.head(class) == at } else { m.get(at, Up) != RING };
        if !first {
            return;
        }
        let heir = if next == at { 0 } else { next };
        if shift == 0 {
            return self.set_head(class, heir);
        }
        // The next oldest of the ring takes the place in the trie, else some leaf below, else nothing.
        let heir = if heir == 0 { self.cut_leaf(m, at) } else { heir };
        let (up, left, right) = (m.get(at, Up), m.get(at, Left), m.get(at, Right));
        if up == ROOT {
            self.set_head(class, heir);
        } else {
            let side = if m.get(up, Left) == at { Left } else { Right };
            m.set(up, side, heir);
        }
        m.set(heir, Up, up);
        m.set(heir, Left, left);
        m.set(heir, Right, right);
        m.set(left, Up, heir);
        m.set(right, Up, heir);
    }

    /// Cuts a leaf off below a hole; 0 if it is a leaf itself.
    fn cut_leaf(&self, m: &mut Memory, top: u32) -> u32 {
        let mut leaf = top;
        for _ in 0..=u32::BITS {
            let (left, right) = (m.get(leaf, Left), m.get(leaf, Right));
            let below = if right == 0 { left } else { right };
            if below == 0 {
                break;
            }
            leaf = below;
        }
        if leaf == top {
            return 0;
        }
        let up = m.get(leaf, Up);
        let side = if m.get(up, Left) == leaf { Left } else { Right };
        m.set(up, side, 0);
        leaf
    }

    /// The newest of the smallest holes of at least `size`.
    #[inline(always)]
    fn at_least(&self, m: &Memory, size: u32) -> Option<Hole> {
        let (class, shift) = class_of(size);
        let head = self.head(class);
        if head != 0 {
            let found = if shift == 0 { head } else { at_least_in(m, head, size, shift) };
            if found != 0 {
                return newest(m, found);
            }
        }
        let above = self.head(self.above(class)?);
        newest(m, extreme(m, above, Left))
    }

    /// The newest of the largest holes of at most `size`.
    fn at_most(&self, m: &Memory, size: u32) -> Option<Hole> {
        let (class, shift) = class_of(size);
        let head = self.head(class);
        if head != 0 {
            let found = if shift == 0 { head } else { at_most_in(m, head, size, shift) };
            if found != 0 {
                return newest(m, found);
            }
        }
        let below = self.head(self.below(class)?);
        newest(m, extreme(m, below, Right))
    }

    /// The newest of the largest holes.
    #[inline(always)]
    fn largest(&self, m: &Memory) -> Option<Hole> {
        newest(m, extreme(m, self.head(self.below(CLASSES)?), Right))
    }

    /// The first hole with a place, in an order that begins with `first` and, after the ring of one size, goes on with
    /// `next` of that size. One step for each hole that is large enough.
    fn search(
        &self,
        m: &Memory,
        request: &Request,
        first: Option<Hole>,
        next: impl Fn(u32) -> Option<Hole>,
    ) -> Option<Place> {
        let (mut hole, mut left) = (first?, m.span());
        loop {
            let newest = hole;
            loop {
                // More holes than granules: broken links go in a circle.
                left = left.checked_sub(1)?;
                if hole.size < request.size {
                    return None;
                }
                if let Some(at) = request.lowest_in(hole) {
                    return Some(Place { hole, at });
                }
                let older = Hole { start: m.get(hole.start, Back), ..hole };
                if older.start == newest.start || m.get(older.start, Field::Size) != hole.size {
                    break;
                }
                hole = older;
            }
            hole = next(hole.size)?;
        }
    }

    fn check(&self, m: &Memory, holes: u32) -> Result<(), Violation> {
        let mut found = 0;
        for class in 0..CLASSES {
            let head = self.head(class);
            let set = self.occupied.get(class / 64).is_some_and(|bits| bits >> (class % 64) & 1 != 0);
            Violation::unless(
                set == (head != 0),
                "P2: a bit is set exactly if its class has a hole",
                class as u64,
            )?;
            found += count(m, head, class, class_of(m.get(head, Field::Size)).1, holes)?;
        }
        Violation::unless(found == holes, "P1: the tries hold exactly the holes", found.into())
    }

    /// Whether a hole is reached by the path that its size leads along.
    fn holds(&self, m: &Memory, hole: Hole) -> bool {
        let Hole { start, size } = hole;
        if m.get(m.get(start, Back), Next) != start || m.get(m.get(start, Next), Back) != start {
            return false;
        }
        let (class, mut bit) = class_of(size);
        let mut at = self.head(class);
        while at != 0 {
            if m.get(at, Field::Size) == size {
                let in_trie = if size < EXACT { at == start } else { m.get(start, Up) != RING };
                return in_trie == (at == start);
            }
            if bit == 0 {
                return false;
            }
            bit -= 1;
            at = m.get(at, if size >> bit & 1 == 0 { Left } else { Right });
        }
        false
    }
}

macro_rules! by_size {
    ($($(#[$doc:meta])* $index:ident, $order:ident, |$holes:ident, $m:ident, $size:ident| $find:expr, $next:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $index(BySize);

        impl HoleIndex for $index {
            const EMPTY: Self = Self(BySize::EMPTY);
            const ORDER: Order = Order::$order;

            #[inline(always)]
            fn detach(&mut self, memory: &mut Memory, hole: Hole) {
                self.0.remove(memory, hole);
            }

            #[inline(always)]
            fn attach(&mut self, memory: &mut Memory, hole: Hole) {
                self.0.insert(memory, hole);
            }

            #[inline(always)]
            fn find(&mut self, $m: &Memory, $size: u32, _: Reach) -> Option<Place> {
                let $holes = &self.0;
                let hole: Hole = $find?;
                if hole.size >= $size { Some(Place { hole, at: hole.start }) } else { None }
            }

            fn find_aligned(&mut self, $m: &Memory, request: &Request, _: Reach) -> Option<Place> {
                let ($holes, $size) = (&self.0, request.size);
                let next: fn(&BySize, &Memory, u32) -> Option<Hole> = $next;
                self.0.search($m, request, $find, |size| next(&self.0, $m, size))
            }

            fn largest(&self, memory: &Memory) -> u32 {
                self.0.largest(memory).map_or(0, |hole| hole.size)
            }

            fn check(&self, memory: &Memory, holes: u32) -> Result<(), Violation> {
                self.0.check(memory, holes)
            }

            fn holds(&self, memory: &Memory, hole: Hole) -> bool {
                self.0.holds(memory, hole)
            }
        }
    )*};
}
by_size! {
    /// Best fit's holes.
    Best, Smallest, |holes, m, size| holes.at_least(m, size), |holes, m, size| holes.at_least(m, size.checked_add(1)?);
    /// Worst fit's holes.
    Worst, Largest, |holes, m, size| { let _ = size; holes.largest(m) },
        |holes, m, size| holes.at_most(m, size.checked_sub(1)?);
}
