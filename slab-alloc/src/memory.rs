//! Where slabs come from: frames of the source, seen through the window.
//!
//! ```text
//!   window    ├───────────────┤ slab ├──────────────┤         pointer = physical address + distance
//!                             ▲
//!   object ──── − distance ──►│ physical address ── mask ──► the slab's first byte ── window ──► its pointer
//! ```
//! The pointer to a slab's header comes from the window, never from the object's pointer: that one may be allowed to
//! reach the object only. What lies outside the window is foreign, without a look at its memory.
#![expect(unsafe_code, reason = "gives frames back, and makes slabs of them")]

use core::ptr::NonNull;

use hectare_core::{AllocError, Frame, FrameRequest, FrameRun, FrameSource, FreeError, PhysAddr, PhysWindow};

use crate::geometry::Geometry;
use crate::slab::Slab;

/// A source and a window onto its frames.
///
/// Invariants: every run that this took from the source and did not give back lies at `physical address + distance`,
/// wrapping, and that distance is a multiple of a word's size.
#[derive(Debug)]
pub(crate) struct Memory<S, W> {
    pub(crate) source: S,
    window: W,
    /// From physical addresses to pointers; `None` until the first run comes.
    distance: Option<u64>,
    /// Frames taken and not given back.
    pub(crate) frames: u64,
}

impl<S, W> Memory<S, W> {
    pub(crate) const fn new(source: S, window: W) -> Self {
        Self { source, window, distance: None, frames: 0 }
    }
}

impl<S: FrameSource, W: PhysWindow> Memory<S, W> {
    /// Takes a run whose pointer is a multiple of `align`.
    pub(crate) fn take(&mut self, request: FrameRequest, align: usize) -> Result<NonNull<u8>, AllocError> {
        let run = self.source.allocate_frames(request)?;
        match self.admit(run, align) {
            Some(pointer) => {
                self.frames += run.count();
                Ok(pointer)
            }
            None => {
                // SAFETY: the run was just taken and nobody uses it. What the source says changes nothing here.
                let _ = unsafe { self.source.free_frames(run) };
                Err(AllocError::Alignment)
            }
        }
    }

    /// The pointer to a run, if the window shows it at the same distance as all others and at that alignment.
    fn admit(&mut self, run: FrameRun, align: usize) -> Option<NonNull<u8>> {
        let start = run.first().start(S::FRAME_SIZE)?;
        let bytes = run.count().checked_mul(S::FRAME_SIZE.bytes())?;
        let pointer = self.window.pointer(start, bytes)?;
        let distance = (pointer.addr().get() as u64).wrapping_sub(start.value());
        if self.distance.is_some_and(|known| known != distance) {
            return None;
        }
        if pointer.addr().get() & (align.max(size_of::<usize>()) - 1) != 0 {
            return None;
        }
        self.distance = Some(distance);
        Some(pointer)
    }

    /// Gives `count` frames from `address` on back.
    ///
    /// # Safety
    /// They were [taken](Self::take) here, and nothing uses them any more.
    ///
    /// # Errors
    /// What the source says.
    pub(crate) unsafe fn give(&mut self, address: usize, count: u64) -> Result<(), FreeError> {
        let physical = self.physical(address).ok_or(FreeError::Foreign)?;
        let (frame, offset) = PhysAddr::new(physical).split(S::FRAME_SIZE);
        if offset != 0 {
            return Err(FreeError::Misaligned);
        }
        let run = FrameRun::new(Frame::new(frame.number()), count).ok_or(FreeError::Foreign)?;
        // SAFETY: the caller's promise: the run is ours and unused.
        unsafe { self.source.free_frames(run) }?;
        self.frames = self.frames.saturating_sub(count);
        Ok(())
    }

    fn physical(&self, address: usize) -> Option<u64> {
        Some((address as u64).wrapping_sub(self.distance?))
    }

    /// Lays a new slab, filled with `poison` before.
    pub(crate) fn lay(
        &mut self,
        geometry: &Geometry,
        owner: u32,
        start: u32,
        poison: Option<u8>,
    ) -> Result<Slab, AllocError> {
        let base = self.take(geometry.request(), geometry.align)?;
        if let Some(poison) = poison {
            // SAFETY: the source's promises: real memory, all ours; the window's: valid for all of it.
            unsafe { base.write_bytes(poison, geometry.slab_bytes) };
        }
        // SAFETY: (1) the source's promises: real memory, all ours; the window's: valid for all of it; (2) `take` made
        // it a multiple of a word; (3) callers pass a colour.
        Ok(unsafe { Slab::lay(base, geometry, owner, start) })
    }

    /// Lays `count` slabs side by side in one run of frames, which is given back slab by slab: the source takes parts.
    /// `each` gets them, the highest first.
    pub(crate) fn lay_many(
        &mut self,
        geometry: &Geometry,
        owner: u32,
        start: impl Fn(u32) -> u32,
        poison: Option<u8>,
        count: u32,
        mut each: impl FnMut(Slab),
    ) -> Result<(), AllocError> {
        let one = geometry.request();
        let frames = one.count.get().checked_mul(u64::from(count)).and_then(core::num::NonZero::new);
        let request = FrameRequest { count: frames.ok_or(AllocError::TooLarge)?, align: one.align };
        let base = self.take(request, geometry.align)?;
        for number in (0..count).rev() {
            // SAFETY: the run has `count` slabs.
            let base = unsafe { base.add(number as usize * geometry.slab_bytes) };
            if let Some(poison) = poison {
                // SAFETY: the source's promises: real memory, all ours; the window's: valid for all of it.
                unsafe { base.write_bytes(poison, geometry.slab_bytes) };
            }
            // SAFETY: (1) as above; (2) `take` made the first a multiple of a word, and slabs are; (3) callers pass colours.
            each(unsafe { Slab::lay(base, geometry, owner, start(number)) });
        }
        Ok(())
    }

    /// Gives a slab's frames back.
    ///
    /// # Safety
    /// The slab was laid here; it is in no list, and nobody uses it or an object of it.
    pub(crate) unsafe fn release(&mut self, geometry: &Geometry, slab: Slab) -> Result<(), FreeError> {
        let base = slab.base(geometry).addr().get();
        slab.kill();
        // SAFETY: the caller's promise.
        unsafe { self.give(base, u64::from(geometry.frames())) }
    }

    /// What finds the slabs of `owner`; `None` if no slab was laid yet.
    #[inline(always)]
    pub(crate) fn finder(&self, geometry: &Geometry, owner: u32) -> Option<Finder<'_, W>> {
        let (mask, bytes) = (!geometry.mask(), geometry.slab_bytes as u64);
        Some(Finder {
            window: &self.window,
            distance: self.distance?,
            mask,
            bytes,
            header: geometry.header,
            owner,
        })
    }

    /// The slab of `owner` that `address` lies in.
    ///
    /// # Safety
    /// As [`Finder::slab_at`].
    #[inline(always)]
    pub(crate) unsafe fn slab_at(&self, geometry: &Geometry, owner: u32, address: usize) -> Option<Slab> {
        // SAFETY: the caller's promise.
        unsafe { self.finder(geometry, owner)?.slab_at(address) }
    }
}

/// Finds the slabs of one owner: what is the same for all addresses is looked up once.
#[derive(Debug)]
pub(crate) struct Finder<'a, W> {
    window: &'a W,
    distance: u64,
    mask: u64,
    bytes: u64,
    header: usize,
    owner: u32,
}

impl<W: PhysWindow> Finder<'_, W> {
    /// The slab of the owner that `address` lies in.
    ///
    /// # Safety
    /// If the window shows memory there, then the place where a header would be is initialised: so it is if the address
    /// is that of an object of a slab of this geometry that was laid here and not released.
    #[inline(always)]
    pub(crate) unsafe fn slab_at(&self, address: usize) -> Option<Slab> {
        let start = PhysAddr::new((address as u64).wrapping_sub(self.distance) & self.mask);
        let base = self.window.pointer(start, self.bytes)?;
        // The window is linear as far as we took frames; elsewhere this need not hold.
        if base.addr().get() as u64 != start.value().wrapping_add(self.distance) {
            return None;
        }
        // SAFETY: the window's promise: valid for a whole slab; a multiple of a word, as the distance and the slab's size
        // are; initialised by the caller's promise.
        unsafe { Slab::at(base, self.header, self.owner) }
    }
}
