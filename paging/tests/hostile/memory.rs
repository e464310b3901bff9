//! The memory of the machine: frames that come full of garbage, and a window that shows each step to the units.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::cell::RefCell;
use core::ptr::NonNull;
use std::collections::BTreeSet;
use std::rc::Rc;

use hectare_core::{
    AllocError, Frame, FrameRequest, FrameRun, FrameSource, FreeError, PageSize, PhysAddr, PhysWindow,
    SharedFrameSource,
};
use hectare_paging::TableFormat;
use hectare_paging::table::{Invalidation, TableWindow, Tlb};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use crate::mmu::{GARBAGE, Mmu};

/// Frames that are handed out.
pub(crate) type Used = Rc<RefCell<BTreeSet<u64>>>;

pub(crate) type Unit<F> = Rc<RefCell<Mmu<F>>>;

/// Units that a change reaches.
pub(crate) struct Units<F: TableFormat>(pub(crate) Rc<RefCell<Vec<Unit<F>>>>);

impl<F: TableFormat> Clone for Units<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<F: TableFormat> Units<F> {
    pub(crate) fn none() -> Self {
        Self(Rc::new(RefCell::new(vec![])))
    }

    pub(crate) fn each(&self, mut act: impl FnMut(&mut Mmu<F>)) {
        self.0.borrow().iter().for_each(|unit| act(&mut unit.borrow_mut()));
    }
}

// SAFETY: the units forget what is named.
unsafe impl<F: TableFormat> Tlb for Units<F> {
    fn invalidate(&self, what: &Invalidation<'_>) {
        self.each(Mmu::disturb);
        self.each(|unit| unit.invalidate(what));
        self.each(Mmu::disturb);
    }
}

pub(crate) struct Window<F: TableFormat>(pub(crate) ArenaWindow, pub(crate) Units<F>);

// SAFETY: the arena's pointers; the units set accessed and dirty bits of present entries, nothing else.
unsafe impl<F: TableFormat> TableWindow for Window<F> {
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.0.pointer(address, bytes)
    }

    fn step(&self, place: PhysAddr) {
        self.1.each(|unit| unit.before(place));
    }

    fn broken(&self, what: &Invalidation<'_>) {
        self.1.invalidate(what);
    }
}

pub(crate) struct Source<F: TableFormat> {
    pub(crate) frames: Rc<RefCell<PlainFrames>>,
    pub(crate) used: Used,
    /// All units: none may hold what is freed.
    pub(crate) units: Units<F>,
}

// SAFETY: as the inner source; it fills what it hands out.
unsafe impl<F: TableFormat> SharedFrameSource for Source<F> {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let mut frames = self.frames.borrow_mut();
        let run = frames.allocate_frames(request)?;
        let start = run.first().start(Self::FRAME_SIZE).expect("an address");
        let bytes = run.count() << 12;
        let pointer = frames.window().pointer(start, bytes).expect("in the arena");
        // SAFETY: the frames were just taken.
        unsafe { pointer.write_bytes(GARBAGE, usize::try_from(bytes).expect("small")) };
        self.used.borrow_mut().extend(run.iter().map(Frame::number));
        Ok(run)
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        let numbers = run.first().number()..run.end().number();
        self.units.each(|unit| unit.free(numbers.clone()));
        for frame in numbers {
            assert!(self.used.borrow_mut().remove(&frame), "frame {frame:#x} is freed twice");
        }
        // SAFETY: the caller's promise.
        unsafe { self.frames.borrow_mut().free_frames(run) }
    }
}
