//! Plans for compaction: which blocks to move where, so that a large hole appears. The owner does the copying.
//!
//! ```text
//!  before   [kernel|A A|      hole      |C|        hole        ]      9 units are asked for, no hole has them
//!  plan      move C (1 unit) ◄───────────┘
//!  after    [kernel|A A|C|                hole                 ]
//! ```
//! A DMA engine, a GPU driver or a loader copies the contents in the order of the plan, then
//! [commits](RangeAllocator::commit) each move; handles stay valid. Pinned blocks never move.
//!
//! ```
//! use hectare_fit::compact_plan::{Goal, Move};
//! use hectare_fit::policy::BestFit;
//! use hectare_fit::range::{Node, RangeAllocator};
//!
//! let mut table = [Node::<u32>::NEW; 8];
//! let mut space = RangeAllocator::<BestFit, _, _>::new(16, &mut table[..])?;
//! let blocks = [space.allocate(7)?, space.allocate(1)?];
//! space.free(blocks[0].handle)?; // holes of 7 and 8
//!
//! let mut moves = [Move::NONE; 4];
//! let plan = space.plan_compaction(Goal::Fit(9), &mut moves)?;
//! assert_eq!((plan.moves.len(), plan.units), (1, 1));
//! for step in plan.moves {
//!     // … copy step.length units from step.from to step.to, as `memmove` would …
//!     space.commit(*step)?;
//! }
//! assert_eq!(space.allocate(9)?.length, 9);
//! # Ok::<(), hectare_fit::range::RangeError>(())
//! ```
#![forbid(unsafe_code)]

use crate::policy::Policy;
use crate::range::{Handle, NIL, Node, RangeAllocator, RangeError, Storage, Unit, View};

/// What a plan is to achieve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal<U> {
    /// All blocks slide down in their order, as far as pinned ones let them: without pinned blocks one hole remains.
    ///
    /// Moves exactly the blocks that have a hole below them (and no pinned block in between). O(blocks and holes).
    OneHole,
    /// A hole of this length appears, with the fewest units moved. Exactly: among all windows of consecutive blocks
    /// and holes without a pinned block, whose blocks can each be put either into a hole outside the window or packed
    /// at the window's lower end so that the rest of the window is long enough, the window with the fewest units in
    /// blocks; the lowest of equals.
    ///
    /// Exact in spaces of at most 8 blocks, and always among the windows that need no hole outside. To pack blocks
    /// into other holes is bin packing, so that beyond 8 blocks windows of more than [`MOST_PACKED`] blocks are not
    /// packed outside, and after [`MOST_STEPS`] nodes looked at no others are: the plan is valid then, but a cheaper
    /// one may exist. Without those searches the cost is O(blocks · blocks in a window).
    Fit(U),
}

/// See [`Goal::Fit`].
pub const MOST_PACKED: usize = 16;
/// See [`Goal::Fit`].
pub const MOST_STEPS: u64 = 1 << 22;

/// One block moves. The two places may overlap: copy as `memmove` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move<U> {
    /// The block; it keeps this handle.
    pub handle: Handle,
    /// Its first unit now.
    pub from: U,
    /// Its first unit afterwards.
    pub to: U,
    /// Its length.
    pub length: U,
}

impl<U: Unit> Move<U> {
    /// No move: what a buffer is filled with.
    pub const NONE: Self = Self { handle: Handle::NONE, from: U::ZERO, to: U::ZERO, length: U::ZERO };
}

/// Moves to be made in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan<'a, U> {
    /// The moves.
    pub moves: &'a [Move<U>],
    /// The units that they move in total.
    pub units: u64,
    /// Whether they reach the goal; else the buffer was too small for [`Goal::OneHole`], and another plan goes on from
    /// where they lead to.
    pub complete: bool,
}

/// A run of nodes without a pinned block.
#[derive(Clone, Copy)]
struct Window<U> {
    first: u32,
    start: U,
    end: U,
    /// Units in its blocks.
    cost: u64,
    /// Units that must leave it.
    need: u64,
}

impl<P: Policy, U: Unit, S: Storage<U>> RangeAllocator<P, U, S> {
    /// Plans how to reach a goal. Nothing is changed. An empty plan means that it is reached already.
    ///
    /// # Errors
    /// For [`Goal::Fit`]: [`RangeError::OutOfSpace`] or [`RangeError::TooLarge`] if less is free in total,
    /// [`RangeError::TableFull`] if a plan was found, but needs more moves than the buffer holds,
    /// [`RangeError::Fragmented`] if none was found, [`RangeError::Empty`] for length 0.
    pub fn plan_compaction<'m>(
        &self,
        goal: Goal<U>,
        moves: &'m mut [Move<U>],
    ) -> Result<Plan<'m, U>, RangeError> {
        let planner = Planner { view: self.view(), lowest: self.lowest() };
        match goal {
            Goal::OneHole => Ok(planner.slide_all(self.space().start, moves)),
            Goal::Fit(length) if length == U::ZERO => Err(RangeError::Empty),
            Goal::Fit(length) if length <= self.largest_free() => {
                Ok(Plan { moves: &[], units: 0, complete: true })
            }
            Goal::Fit(length) => {
                let space = self.space();
                if length > space.end - space.start {
                    return Err(RangeError::TooLarge);
                }
                if length > self.free_units() {
                    return Err(RangeError::OutOfSpace);
                }
                planner.fit(length.into(), self.free_units().into(), moves)
            }
        }
    }
}

/// The planted fault: pins are not looked at.
fn is_pinned<U: Unit>(node: &Node<U>) -> bool {
    node.is_pinned() && !cfg!(hectare_plant = "move_pinned")
}

struct Planner<'v, U: Unit> {
    view: View<'v, U>,
    lowest: u32,
}

impl<U: Unit> Planner<'_, U> {
    fn step(&self, index: u32, to: U) -> Move<U> {
        let node = self.view.at(index);
        Move { handle: Handle::new(index, node.generation()), from: node.start, to, length: node.length }
    }

    fn slide_all<'m>(&self, start: U, moves: &'m mut [Move<U>]) -> Plan<'m, U> {
        let (mut count, mut units, mut floor) = (0, 0, start);
        let (mut index, mut complete) = (self.lowest, true);
        while index != NIL {
            let node = self.view.at(index);
            if !node.is_hole() {
                if is_pinned(node) || node.start == floor {
                    floor = node.end();
                } else if let Some(place) = moves.get_mut(count) {
                    *place = self.step(index, floor);
                    count += 1;
                    units += Into::<u64>::into(node.length);
                    floor = floor + node.length;
                } else {
                    complete = false;
                    break;
                }
            }
            index = node.next;
        }
        Plan { moves: moves.get(..count).unwrap_or_default(), units, complete }
    }

    fn fit<'m>(&self, length: u64, free: u64, moves: &'m mut [Move<U>]) -> Result<Plan<'m, U>, RangeError> {
        let few = self.count_blocks(9) <= 8;
        let mut budget = if few { u64::MAX } else { MOST_STEPS };
        let (mut best, mut too_long) = (None, false);
        let mut first = self.lowest;
        while first != NIL {
            let start = self.view.at(first).start;
            let (mut cost, mut blocks, mut index) = (0_u64, 0, first);
            while index != NIL {
                let node = self.view.at(index);
                if !node.is_hole() {
                    cost += Into::<u64>::into(node.length);
                    blocks += 1;
                    let beaten = best.is_some_and(|best: Window<U>| cost >= best.cost);
                    if is_pinned(node) || beaten {
                        break;
                    }
                }
                let whole = Into::<u64>::into(node.end()) - start.into();
                let inside = whole - cost;
                if whole >= length {
                    let need = length.saturating_sub(inside);
                    let window = Window { first, start, end: node.end(), cost, need };
                    // Quick tests first: enough room outside, and few enough to pack.
                    let packable = need == 0 || (free - inside >= need && (few || blocks <= MOST_PACKED));
                    if packable && blocks > moves.len() {
                        too_long = true;
                    } else if packable && self.pack(&window, first, 0, need, moves, &mut budget).is_some() {
                        best = Some(window);
                        break;
                    }
                    if inside >= length {
                        break;
                    }
                }
                index = node.next;
            }
            first = self.view.at(first).next;
        }
        let none = if too_long { RangeError::TableFull } else { RangeError::Fragmented };
        let best = best.ok_or(none)?;
        Ok(self.emit(&best, moves))
    }

    fn count_blocks(&self, most: usize) -> usize {
        let (mut index, mut count) = (self.lowest, 0);
        while index != NIL && count < most {
            count += usize::from(!self.view.at(index).is_hole());
            index = self.view.at(index).next;
        }
        count
    }

    /// Finds places outside the window for blocks from `index` on, until `need` units have left; gives how many moves
    /// are in the buffer then. Depth-first: each block goes into each hole in turn, or stays.
    fn pack(
        &self,
        window: &Window<U>,
        index: u32,
        placed: usize,
        need: u64,
        moves: &mut [Move<U>],
        budget: &mut u64,
    ) -> Option<usize> {
        if need == 0 {
            return Some(placed);
        }
        let mut block = index;
        while block != NIL && self.view.at(block).is_hole() {
            block = self.view.at(block).next;
        }
        let node = self.view.at(block);
        if block == NIL || node.start >= window.end {
            return None;
        }
        let rest = need.saturating_sub(node.length.into());
        let mut hole = self.lowest;
        while hole != NIL {
            *budget = budget.checked_sub(1)?;
            let at = self.view.at(hole);
            let outside = at.end() <= window.start || at.start >= window.end;
            if at.is_hole() && outside {
                // What was put there before takes the hole's lower end.
                let before = moves.iter().take(placed).filter(|m| at.start <= m.to && m.to < at.end());
                let to = before.fold(at.start, |to, m| to + m.length);
                if at.end() - to >= node.length {
                    *moves.get_mut(placed)? = self.step(block, to);
                    let done = self.pack(window, node.next, placed + 1, rest, moves, budget);
                    if done.is_some() {
                        return done;
                    }
                }
            }
            hole = at.next;
        }
        self.pack(window, node.next, placed, need, moves, budget)
    }

    /// Writes the plan for a window: first the blocks that leave it, then those that slide down in it.
    fn emit<'m>(&self, window: &Window<U>, moves: &'m mut [Move<U>]) -> Plan<'m, U> {
        let mut unlimited = u64::MAX;
        let left = self.pack(window, window.first, 0, window.need, moves, &mut unlimited).unwrap_or(0);
        let (mut count, mut floor, mut index) = (left, window.start, window.first);
        while index != NIL && self.view.at(index).start < window.end {
            let node = self.view.at(index);
            let leaves = moves.iter().take(left).any(|m| m.from == node.start);
            if !node.is_hole() && !leaves {
                if node.start != floor {
                    if let Some(place) = moves.get_mut(count) {
                        *place = self.step(index, floor);
                        count += 1;
                    }
                }
                floor = floor + node.length;
            }
            index = node.next;
        }
        let moves = moves.get(..count).unwrap_or_default();
        let units = moves.iter().map(|m| m.length.into()).sum();
        Plan { moves, units, complete: true }
    }
}
