//! Between front and back: what the heap of one owner and the heap of many CPUs have in common.
#![expect(unsafe_code, reason = "gives blocks back to their slabs")]

use core::alloc::Layout;
use core::num::NonZero;
use core::ptr::NonNull;

use hectare_core::{AllocError, FrameSource, PhysWindow};

use crate::back::Back;
use crate::front::Front;
use crate::size_class::{CLASSES, class_of_layout, rounded};

/// Fills half of a class's slots, which are empty, and takes one block.
pub(crate) fn refill<S: FrameSource, W: PhysWindow>(
    front: &mut Front,
    back: &mut Back<S, W>,
    class: usize,
) -> Result<NonNull<u8>, AllocError> {
    let count = back.take_batch(class, front.batch_slots(class))?;
    front.refilled(class, count);
    front.pop(class).ok_or(AllocError::OutOfMemory)
}

/// Moves up to `count` blocks of a class to their slabs, the oldest first.
pub(crate) fn drain<S: FrameSource, W: PhysWindow>(
    front: &mut Front,
    back: &mut Back<S, W>,
    class: usize,
    count: usize,
) {
    front.drain(class, count, |blocks| {
        // SAFETY: blocks in the front were freed by their owners, as blocks of this class.
        unsafe { back.give_batch(class, blocks) };
    });
}

/// Moves every block of the front to its slab.
pub(crate) fn flush<S: FrameSource, W: PhysWindow>(front: &mut Front, back: &mut Back<S, W>) {
    (0..CLASSES).for_each(|class| drain(front, back, class, usize::MAX));
}

/// Takes in a block that its owner freed as one of `class`.
#[cfg(target_has_atomic = "ptr")]
pub(crate) fn give<S: FrameSource, W: PhysWindow>(back: &mut Back<S, W>, class: usize, block: NonNull<u8>) {
    // SAFETY: blocks in the front and in mailboxes were freed by their owners, as blocks of this class.
    if unsafe { back.give(class, block) }.is_err() {
        back.rejected = back.rejected.saturating_add(1);
    }
}

/// The frames of a block that no class serves.
pub(crate) fn frames<S: FrameSource>(layout: Layout) -> Result<NonZero<u64>, AllocError> {
    let bytes = rounded(layout) as u64;
    NonZero::new(bytes.div_ceil(S::FRAME_SIZE.bytes())).ok_or(AllocError::TooLarge)
}

/// Whether a block of `layout` can have `new_size` bytes where it lies: the same class, or as many frames.
#[inline]
pub(crate) fn resize<S: FrameSource>(layout: Layout, new_size: usize) -> Result<(), AllocError> {
    let Ok(new) = Layout::from_size_align(new_size, layout.align()) else { return Err(AllocError::TooLarge) };
    let same = match (class_of_layout(layout), class_of_layout(new)) {
        (Some(old), Some(new)) => old == new,
        (None, None) => frames::<S>(layout) == frames::<S>(new),
        _ => false,
    };
    if same { Ok(()) } else { Err(AllocError::NotInPlace) }
}
