//! Clearing frames through a window: the usual hook of [`allocate_with`](crate::Engine::allocate_with).
#![expect(unsafe_code, reason = "writes to frames")]

use hectare_core::{FrameRun, PageSize, PhysWindow};

/// Writes zeros to every byte of a run; whether the window showed all of them. O(bytes).
///
/// A run that the window shows only in part is cleared up to the first frame that it does not show.
///
/// ```
/// # #![allow(unsafe_code)]
/// use core::ptr::NonNull;
/// use hectare_buddy::{Banks, Engine, Request, Rows64, words_for, zero_frames};
/// use hectare_core::{AllocError, DirectMap, Frame, FrameRun, Order, PageSize, PhysAddr};
///
/// # let span = FrameRun::new(Frame::new(0x100), 4).unwrap();
/// # let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(span).unwrap()]);
/// # let mut banks = Banks::new(&mut table);
/// # banks.add(span).unwrap();
/// # let mut engine = Engine::<Rows64>::new(banks, &mut words).unwrap();
/// # let mut memory = vec![7u8; 0x4000];
/// # let start = NonNull::new(memory.as_mut_ptr()).unwrap();
/// // SAFETY: the window shows memory that nothing else uses.
/// let window = unsafe { DirectMap::new(start, PhysAddr::new(0x10_0000), 0x4000) }.unwrap();
/// let size = PageSize::SIZE_4K;
/// let run = engine.allocate_with(Request::order(Order::new(1).unwrap()), |run| {
///     // SAFETY: the frames were just taken: they are ours.
///     let shown = unsafe { zero_frames(&window, size, run) };
///     if shown { Ok(()) } else { Err(AllocError::OutOfMemory) }
/// });
/// assert_eq!(run.map(FrameRun::count), Ok(2));
/// # assert_eq!(memory.iter().filter(|byte| **byte == 0).count(), 0x2000);
/// ```
///
/// # Safety
/// The caller owns the frames, and nothing else uses their memory now.
#[must_use]
pub unsafe fn zero_frames(window: &impl PhysWindow, size: PageSize, run: FrameRun) -> bool {
    let Ok(bytes) = usize::try_from(size.bytes()) else { return false };
    run.iter().all(|frame| {
        let Some(memory) = frame.start(size).and_then(|start| window.pointer(start, size.bytes())) else {
            return false;
        };
        // SAFETY: (1) the window vouches for `bytes` writable bytes at the pointer, which are the frame's; (2) the caller
        // owns the frame, so nobody else reads or writes them; (3) bytes have no alignment.
        unsafe { memory.write_bytes(0, bytes) };
        true
    })
}
