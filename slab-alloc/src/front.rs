//! The front of a heap: the blocks freed last, by class, as an array of pointers.
//!
//! ```text
//!  heads    class 0      class 1      class 2   …          each: floor ≤ top ≤ ceil
//!  slots   │■■■■      │■■        │■■■■■■■■■■│              ■ a free block
//!           floor  top  ceil
//! ```
//! A block that is freed goes to the top, the next one allocated comes from there: the one that is hottest in the cache.
//! The block's own memory is not touched. An empty class is refilled from the slabs, a full one flushed to them, half of
//! its slots at a time, so that at most one in `capacity / 2` operations of any sequence goes to the slabs (Bonwick and
//! Adams, "Magazines and Vmem", USENIX 2001, section 3.1, with the two magazines in one array).
#![forbid(unsafe_code)]

use core::ptr::NonNull;

use crate::size_class::{CLASSES, size_of_class};

/// Slots of all classes: a power of two, so that an index is masked instead of checked.
const SLOTS: usize = if cfg!(hectare_loom) { 256 } else { 1024 };

/// Heads, padded to a power of two for the same reason.
const HEADS: usize = CLASSES.next_power_of_two();

/// Slots of a class: 8 KiB of blocks, 2 to 32 of them.
const fn capacity(class: usize) -> u16 {
    match 8192 / size_of_class(class) {
        _ if cfg!(hectare_loom) => 2,
        0..=2 => 2,
        32.. => 32,
        #[expect(clippy::cast_possible_truncation, reason = "less than 32")]
        some => some as u16,
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    /// The first slot that is not in use.
    top: u16,
    /// The class's first slot.
    floor: u16,
    /// The slot after its last one.
    ceil: u16,
}

/// Invariants, for each class:
/// * F1: `floor ≤ top ≤ ceil`, and the slots from floor to ceil are this class's only;
/// * F2: the slots from floor to top hold free blocks of this class, each once.
#[derive(Debug)]
pub(crate) struct Front {
    heads: [Head; HEADS],
    slots: [Option<NonNull<u8>>; SLOTS],
}

impl Front {
    pub(crate) const EMPTY: Self = {
        let mut heads = [Head { top: 0, floor: 0, ceil: 0 }; HEADS];
        let mut class = 0;
        let mut floor = 0;
        while class < CLASSES {
            let ceil = floor + capacity(class);
            heads[class] = Head { top: floor, floor, ceil };
            floor = ceil;
            class += 1;
        }
        assert!(floor as usize <= SLOTS, "the classes have slots of their own");
        Self { heads, slots: [None; SLOTS] }
    };

    #[inline(always)]
    fn head(&mut self, class: usize) -> &mut Head {
        &mut self.heads[class & (HEADS - 1)]
    }

    /// Takes the block that was freed last; `None` if there is none.
    #[inline(always)]
    pub(crate) fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let head = self.head(class);
        if head.top == head.floor {
            return None;
        }
        let top = head.top.wrapping_sub(1);
        head.top = top;
        self.slots[usize::from(top) & (SLOTS - 1)]
    }

    /// Puts a free block in; whether there was room.
    #[inline(always)]
    pub(crate) fn push(&mut self, class: usize, block: NonNull<u8>) -> bool {
        let head = self.head(class);
        let top = head.top;
        if top == head.ceil {
            return false;
        }
        head.top = top.wrapping_add(1);
        self.slots[usize::from(top) & (SLOTS - 1)] = Some(block);
        true
    }

    /// How many blocks a refill or a flush moves: half the slots.
    pub(crate) fn batch(&mut self, class: usize) -> usize {
        let head = self.head(class);
        usize::from(head.ceil.wrapping_sub(head.floor) / 2).max(1)
    }

    /// Puts the blocks that were pushed last into the opposite order: they came in the order of their addresses, and the
    /// lowest should go first.
    pub(crate) fn reverse(&mut self, class: usize, count: usize) {
        let top = usize::from(self.head(class).top);
        if let Some(blocks) = self.slots.get_mut(top.saturating_sub(count)..top) {
            blocks.reverse();
        }
    }

    /// Takes out up to `count` of the blocks that were freed first, and hands each to `give`.
    pub(crate) fn drain(&mut self, class: usize, count: usize, mut give: impl FnMut(NonNull<u8>)) {
        let head = self.head(class);
        let (floor, top) = (usize::from(head.floor), usize::from(head.top));
        let count = count.min(top.saturating_sub(floor));
        #[expect(clippy::cast_possible_truncation, reason = "at most top")]
        {
            head.top = (top - count) as u16;
        }
        if let Some(blocks) = self.slots.get_mut(floor..top) {
            if let Some(oldest) = blocks.get(..count) {
                oldest.iter().flatten().for_each(|block| give(*block));
            }
            blocks.rotate_left(count);
        }
    }

    /// Blocks of one class.
    pub(crate) fn len(&self, class: usize) -> usize {
        self.heads.get(class).map_or(0, |head| usize::from(head.top.wrapping_sub(head.floor)))
    }

    /// The blocks of one class, the one freed first at the beginning.
    pub(crate) fn blocks(&self, class: usize) -> impl Iterator<Item = NonNull<u8>> + use<'_> {
        let range = self.heads.get(class).map_or(0..0, |head| usize::from(head.floor)..usize::from(head.top));
        self.slots.get(range).unwrap_or(&[]).iter().flatten().copied()
    }
}
