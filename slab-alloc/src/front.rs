//! The front of a heap: the blocks freed last, by class, as an array of pointers.
//!
//! ```text
//!  heads    class 0        class 1      class 2   …        each: floor ≤ top ≤ ceil
//!  slots   │–│■■■■      │–│■■        │–│■■■■■■■■■■│        ■ a free block, – always empty
//!           floor  top  ceil                               top: the block that goes next, or the floor
//! ```
//! A block that is freed goes to the top, the next one allocated comes from there: the one that is hottest in the cache.
//! The block's own memory is not touched. The slot at a class's floor is always empty, so that one look at the top tells
//! whether there is a block and which. An empty class is filled to three quarters from the slabs, half of a full one goes to
//! them, so that at most one in `capacity / 4` operations of any sequence goes to the slabs (after Bonwick and Adams,
//! "Magazines and Vmem", USENIX 2001, section 3.1, with the two magazines in one array; programs that grow ask half as often
//! again if it is filled by half only).
#![forbid(unsafe_code)]

use core::ptr::NonNull;

use crate::size_class::{CLASSES, size_of_class};

/// Slots of all classes.
const SLOTS: usize = FLOORS[CLASSES - 1] as usize + capacity(CLASSES - 1) as usize + 1;

/// Heads, padded to a power of two, so that a class is masked instead of checked.
const HEADS: usize = CLASSES.next_power_of_two();

/// Blocks that a class may have: 16 KiB of them, at most 30; of larger ones up to 12, as long as they are 96 KiB together.
const fn capacity(class: usize) -> u16 {
    let size = size_of_class(class);
    match (16384 / size, 98304 / size) {
        _ if cfg!(hectare_loom) => 2,
        (30.., _) => 30,
        #[expect(clippy::cast_possible_truncation, reason = "less than 30")]
        (some @ 12.., _) => some as u16,
        (_, 12..) => 12,
        #[expect(clippy::cast_possible_truncation, reason = "less than 12")]
        (_, some) => some as u16,
    }
}

/// The slot at the floor of each class.
const FLOORS: [u16; CLASSES] = {
    let mut floors = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        floors[class] = floors[class - 1] + capacity(class - 1) + 1;
        class += 1;
    }
    floors
};

/// A slot's number, as heads have it.
#[expect(clippy::cast_possible_truncation, reason = "fewer than 2^16 slots")]
#[inline(always)]
const fn index(slot: usize) -> u16 {
    slot as u16
}

#[derive(Clone, Copy, Debug)]
struct Head {
    /// The block that goes next; the floor if there is none.
    top: u16,
    /// The class's last slot.
    ceil: u16,
}

/// Invariants, for each class:
/// * F1: `floor ≤ top ≤ ceil`, the slots from floor to ceil are this class's only, and that at the floor is empty;
/// * F2: the slots above the floor up to the top hold free blocks of this class, each once.
#[derive(Debug)]
pub(crate) struct Front {
    heads: [Head; HEADS],
    slots: [Option<NonNull<u8>>; SLOTS],
}

impl Front {
    pub(crate) const EMPTY: Self = {
        let mut heads = [Head { top: 0, ceil: 0 }; HEADS];
        let mut class = 0;
        while class < CLASSES {
            heads[class] = Head { top: FLOORS[class], ceil: FLOORS[class] + capacity(class) };
            class += 1;
        }
        Self { heads, slots: [None; SLOTS] }
    };

    #[inline(always)]
    fn head(&mut self, class: usize) -> &mut Head {
        &mut self.heads[class & (HEADS - 1)]
    }

    /// Takes the block that was freed last; `None` if there is none.
    #[inline(always)]
    pub(crate) fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let top = usize::from(self.head(class).top);
        let block = (*self.slots.get(top)?)?;
        self.head(class).top = index(top.wrapping_sub(1));
        Some(block)
    }

    /// Puts a free block in; whether there was room.
    #[inline(always)]
    pub(crate) fn push(&mut self, class: usize, block: NonNull<u8>) -> bool {
        let head = self.head(class);
        if head.top == head.ceil {
            return false;
        }
        let top = usize::from(head.top) + 1;
        let Some(slot) = self.slots.get_mut(top) else { return false };
        *slot = Some(block);
        self.head(class).top = index(top);
        true
    }

    fn floor(class: usize) -> usize {
        FLOORS.get(class).map_or(0, |floor| usize::from(*floor))
    }

    /// How many blocks a flush moves: half of what a class may have.
    pub(crate) fn batch(&mut self, class: usize) -> usize {
        (usize::from(self.head(class).ceil) - Self::floor(class)).div_ceil(2)
    }

    /// Where a refill of a class that has no block puts its batch, three quarters of what the class may have; then
    /// [`refilled`](Self::refilled).
    pub(crate) fn batch_slots(&mut self, class: usize) -> &mut [Option<NonNull<u8>>] {
        let (first, batch) = (Self::floor(class) + 1, self.batch(class) * 3 / 2);
        self.slots.get_mut(first..first + batch).unwrap_or(&mut [])
    }

    /// The first `count` slots of the batch were filled.
    pub(crate) fn refilled(&mut self, class: usize, count: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "at most SLOTS")]
        let top = (Self::floor(class) + count) as u16;
        let head = self.head(class);
        head.top = top.min(head.ceil);
    }

    /// Takes out up to `count` of the blocks that were freed first, and hands them to `give`.
    pub(crate) fn drain(&mut self, class: usize, count: usize, give: impl FnOnce(&[Option<NonNull<u8>>])) {
        let (first, top) = (Self::floor(class) + 1, usize::from(self.head(class).top));
        let count = count.min((top + 1).saturating_sub(first));
        #[expect(clippy::cast_possible_truncation, reason = "at most top")]
        {
            self.head(class).top = (top - count) as u16;
        }
        if let Some(blocks) = self.slots.get_mut(first..=top) {
            give(blocks.get(..count).unwrap_or(&[]));
            blocks.copy_within(count.., 0);
        }
    }

    /// Blocks of one class.
    pub(crate) fn len(&self, class: usize) -> usize {
        self.heads.get(class).map_or(0, |head| usize::from(head.top) - Self::floor(class))
    }

    /// The blocks of one class, the one freed first at the beginning.
    pub(crate) fn blocks(&self, class: usize) -> impl Iterator<Item = NonNull<u8>> + use<'_> {
        let first = Self::floor(class) + 1;
        self.slots.get(first..first + self.len(class)).unwrap_or(&[]).iter().flatten().copied()
    }

    /// Whether the floors are empty (F1). O(classes).
    pub(crate) fn is_sound(&self) -> bool {
        let empty = |class| self.slots.get(Self::floor(class)).is_some_and(Option::is_none);
        (0..CLASSES).all(empty)
    }
}
