//! Every rule that the driver watches is broken on purpose once: the driver must name that rule and no other.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that implements unsafe traits, wrongly")]

use core::alloc::Layout;
use core::mem::{Discriminant, discriminant};
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, Extent, Frame, FrameRequest, FrameRun, FrameSource,
};
use hectare_core::{
    FreeError, PageSize, PhysAddr, PhysWindow, RangeRequest, RangeSource, RegionError, Violation,
};
use hectare_testkit::arena::{Arena, Damage};
use hectare_testkit::drive::{Breach, FrameModel, HeapModel, HeapUnderTest, RangeModel, Space, drive};
use hectare_testkit::op::{FrameOp, HeapOp, RangeOp, decode_all, noise};
use hectare_testkit::stand_in::{ArenaWindow, NaiveHeap, NaiveRanges, PlainFrames};

/// What is wrong, from the tenth request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    GivesALiveBlock,
    Misaligns,
    GivesOutside,
    ForgetsToCopy,
    ForgetsToZero,
    WritesIntoABlock,
    WritesBeforeItsRegion,
    Leaks,
    RefusesAGoodFree,
    RefusesWithRoom,
    GrowsOverTheNext,
    RemovesWhatIsInUse,
    TruncatesWhatIsInUse,
    KeepsAnEmptyRegion,
    BreaksAnInvariant,
    GivesTooLittle,
    TakesABadFree,
}

#[derive(Debug)]
struct Broken<T> {
    inner: T,
    fault: Fault,
    requests: u32,
    last: Option<(NonNull<u8>, usize)>,
    region: Option<NonNull<[u8]>>,
}

impl<T> Broken<T> {
    fn new(inner: T, fault: Fault) -> Self {
        Self { inner, fault, requests: 0, last: None, region: None }
    }

    fn now(&mut self, fault: Fault) -> bool {
        self.requests += 1;
        self.fault == fault && self.requests > 10
    }
}

// SAFETY: none: it breaks its promises, and the driver must see it before anything is done with the result.
unsafe impl ByteAllocator for Broken<NaiveHeap> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        if self.now(Fault::RefusesWithRoom) && self.requests.is_multiple_of(3) {
            return Err(AllocError::OutOfMemory);
        }
        let block = self.inner.allocate(layout)?;
        let old = self.last.replace((block, layout.size()));
        match (self.fault, old) {
            (Fault::GivesALiveBlock, Some((old, size)))
                if old.addr().get() % layout.align() == 0 && layout.size() <= size =>
            {
                return Ok(old);
            }
            (Fault::WritesIntoABlock, Some((old, size @ 1..))) if old != block => {
                // SAFETY: the last byte of a block that was live, in the arena.
                let byte = unsafe { old.add(size - 1) };
                // SAFETY: as above; 0x5a is not always what was there.
                unsafe { byte.write(0x5a) };
            }
            (Fault::Misaligns, _) if layout.align() > 1 && layout.size() > 1 => {
                // SAFETY: one byte on in a block of two or more.
                return Ok(unsafe { block.add(1) });
            }
            (Fault::GivesOutside, _) => {
                return Ok(block.map_addr(|address| address.saturating_add(1 << 20)));
            }
            (Fault::WritesBeforeItsRegion, _) => {
                let Some(region) = self.region else { return Ok(block) };
                // SAFETY: the test's first region lies behind a guard.
                let byte = unsafe { region.cast::<u8>().sub(1) };
                // SAFETY: as above.
                unsafe { byte.write(0) };
            }
            _ => {}
        }
        Ok(block)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        if self.now(Fault::Leaks) {
            return Ok(());
        }
        if self.now(Fault::RefusesAGoodFree) {
            return Err(FreeError::NotAllocated);
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.deallocate(block, layout) }
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        if self.now(Fault::ForgetsToZero) {
            return self.inner.allocate(layout);
        }
        self.inner.allocate_zeroed(layout)
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        match unsafe { self.inner.resize_in_place(block, layout, new_size) } {
            Err(AllocError::NotInPlace)
                if new_size <= layout.size() + 16 && self.now(Fault::GrowsOverTheNext) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        if self.now(Fault::ForgetsToCopy) {
            let new = Layout::from_size_align(new_size, layout.align()).map_err(|_| AllocError::TooLarge)?;
            let moved = self.inner.allocate(new)?;
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.inner.deallocate(block, layout) }?;
            return Ok(moved);
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.reallocate(block, layout, new_size) }
    }
}

// SAFETY: none, as above.
unsafe impl HeapUnderTest for Broken<NaiveHeap> {
    fn check(&self) -> Result<(), Violation> {
        Violation::unless(self.fault != Fault::BreaksAnInvariant, "planted", 0)?;
        self.inner.check_invariants()
    }

    fn check_empty(&self) -> Result<(), String> {
        self.inner.check_empty()
    }

    fn check_refusal(&self, layout: Layout, error: AllocError, space: &Space) -> Result<(), String> {
        self.inner.check_refusal(layout, error, space)
    }

    unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        self.region = self.region.or(Some(region));
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.add(region) }
    }

    unsafe fn truncate(&mut self, old: NonNull<[u8]>, new: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        if self.now(Fault::TruncatesWhatIsInUse) {
            return Some(Ok(()));
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.truncate(old, new) }
    }

    unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
        if self.now(Fault::RemovesWhatIsInUse) {
            return Some(Ok(()));
        }
        if self.now(Fault::KeepsAnEmptyRegion) {
            return Some(Err(RegionError::InUse));
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.remove(region) }
    }
}

/// A breach of the same kind, whatever its figures.
fn like(breach: &Breach) -> Discriminant<Breach> {
    discriminant(breach)
}

const ERROR: AllocError = AllocError::OutOfMemory;
const LENGTH: usize = if cfg!(miri) { 600 } else { 20_000 };

fn heap_breach(fault: Fault) -> Option<Breach> {
    let mut arena = Arena::new(1 << 13, 64);
    arena.give(0..1 << 12);
    let mut model = HeapModel::new(Broken::new(NaiveHeap::new(), fault), arena);
    drive(&mut model, decode_all(&noise(3, LENGTH), HeapOp::decode), 1).err().map(|failure| failure.breach)
}

#[test]
#[cfg_attr(miri, ignore = "minutes long when interpreted, and it looks for no undefined behaviour")]
fn each_fault_of_a_heap_is_caught() {
    assert_eq!(heap_breach(Fault::None), None);
    let (start, end, slot, at) = (0, 0, 0, 0);
    let (size, align) = (0, 0);
    let lost = Breach::Lost { slot, at };
    for (fault, breach) in [
        (Fault::GivesALiveBlock, Breach::Overlap { start, end, other: 0 }),
        (Fault::Misaligns, Breach::Misaligned { start, align }),
        (Fault::GivesOutside, Breach::Outside { start, end }),
        (Fault::ForgetsToCopy, lost.clone()),
        (Fault::ForgetsToZero, Breach::NotZero { slot, at }),
        (Fault::WritesIntoABlock, lost),
        (Fault::WritesBeforeItsRegion, Breach::Damage(Damage { offset: 0 })),
        (Fault::RefusesAGoodFree, Breach::FreeRefused { slot, error: FreeError::NotAllocated }),
        (Fault::RefusesWithRoom, Breach::Refused { size, align, error: ERROR, reason: String::new() }),
        (Fault::GrowsOverTheNext, Breach::Overlap { start, end, other: 0 }),
        (Fault::RemovesWhatIsInUse, Breach::Abandoned { slot }),
        (Fault::TruncatesWhatIsInUse, Breach::Abandoned { slot }),
        (Fault::KeepsAnEmptyRegion, Breach::RegionRefused { error: RegionError::InUse, reason: "" }),
        (Fault::BreaksAnInvariant, Breach::Invariant(Violation { rule: "planted", at: 0 })),
    ] {
        let found = heap_breach(fault).unwrap_or_else(|| panic!("{fault:?} was not caught"));
        assert_eq!(like(&found), like(&breach), "{fault:?} was seen as: {found}");
    }
}

/// A leak shows when everything was given back; until then the heap is only smaller than it should be.
#[test]
fn a_leak_of_a_heap_is_caught() {
    let mut arena = Arena::new(1 << 13, 64);
    arena.give(0..1 << 12);
    let mut model = HeapModel::new(Broken::new(NaiveHeap::new(), Fault::Leaks), arena);
    let ops = (0..12).flat_map(|slot| {
        [HeapOp::Allocate { slot, size: 8, align_log2: 3, zeroed: false }, HeapOp::Free { slot }]
    });
    let failure = drive(&mut model, ops, 1).unwrap_err();
    assert_eq!((failure.op, like(&failure.breach)), (24, like(&Breach::NotEmpty(String::new()))));
}

/// A region that was taken back belongs to somebody else.
#[test]
fn a_write_to_a_removed_region_is_caught() {
    #[derive(Debug)]
    struct Late(NaiveHeap, Option<NonNull<[u8]>>);
    // SAFETY: the inner heap's.
    unsafe impl ByteAllocator for Late {
        fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
            if let Some(gone) = self.1 {
                // SAFETY: still inside the arena, but no longer ours.
                unsafe { gone.cast::<u8>().write(0) };
            }
            self.0.allocate(layout)
        }
        unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.0.deallocate(block, layout) }
        }
    }
    // SAFETY: none: it writes to a region that it gave back.
    unsafe impl HeapUnderTest for Late {
        unsafe fn add(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.0.add(region) }
        }
        unsafe fn remove(&mut self, region: NonNull<[u8]>) -> Option<Result<(), RegionError>> {
            self.1 = Some(region);
            // SAFETY: the caller's promise is the one asked for.
            unsafe { self.0.remove(region) }
        }
    }
    let mut arena = Arena::new(512, 16);
    arena.give(64..256);
    let ops = [
        HeapOp::RemoveRegion { region: 0 },
        HeapOp::Allocate { slot: 0, size: 1, align_log2: 0, zeroed: false },
    ];
    let failure = drive(&mut HeapModel::new(Late(NaiveHeap::new(), None), arena), ops, 1).unwrap_err();
    assert_eq!((failure.op, failure.breach), (1, Breach::Damage(Damage { offset: 64 })));
}

// SAFETY: none, as above.
unsafe impl FrameSource for Broken<PlainFrames<6>> {
    const FRAME_SIZE: PageSize = PlainFrames::<6>::FRAME_SIZE;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        if self.now(Fault::RefusesWithRoom) {
            return Err(ERROR);
        }
        let run = self.inner.allocate_frames(request)?;
        let shifted = |by| FrameRun::new(run.first().checked_add(by).unwrap(), run.count()).unwrap();
        Ok(match self.fault {
            Fault::GivesALiveBlock if self.requests > 3 => {
                FrameRun::new(Frame::new(16), run.count()).unwrap()
            }
            Fault::Misaligns if request.align.get() > 0 => shifted(1),
            Fault::GivesOutside => shifted(1 << 20),
            Fault::GivesTooLittle if run.count() > 1 => FrameRun::new(run.first(), run.count() - 1).unwrap(),
            _ => run,
        })
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        match self.fault {
            Fault::Leaks => Ok(()),
            Fault::RefusesAGoodFree => Err(FreeError::Foreign),
            // SAFETY: the caller's promise is the one asked for.
            _ => unsafe { self.inner.free_frames(run) },
        }
    }
}

/// A window that shows two frames at one place.
#[derive(Debug)]
struct Aliasing(ArenaWindow, bool);

// SAFETY: none if the flag is set: equal pointers for unequal addresses.
unsafe impl PhysWindow for Aliasing {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        let bit = if self.1 { 64 } else { 0 };
        self.0.pointer(PhysAddr::new(address.value() & !bit), length)
    }
}

fn frame_breach(fault: Fault) -> Option<Breach> {
    let frames = PlainFrames::<6>::new(16, 100);
    let (all, window) = (frames.all(), Aliasing(frames.window(), fault == Fault::WritesIntoABlock));
    let check_empty = |broken: &Broken<PlainFrames<6>>| {
        Violation::unless(broken.inner.free() == 100, "every frame is free", broken.inner.free())
    };
    let mut model = FrameModel::new(Broken::new(frames, fault), &[all], Some(window))
        .taking_parts()
        .checking(|broken| broken.inner.check_invariants(), check_empty);
    // What leaks would show as a refusal at once; here it should show at the end.
    if fault != Fault::Leaks {
        model = model.complete();
    }
    drive(&mut model, decode_all(&noise(3, LENGTH), FrameOp::decode), 1).err().map(|failure| failure.breach)
}

#[test]
#[cfg_attr(miri, ignore = "minutes long when interpreted, and it looks for no undefined behaviour")]
fn each_fault_of_a_frame_source_is_caught() {
    assert_eq!(frame_breach(Fault::None), None);
    let (start, end, slot) = (0, 0, 0);
    for (fault, breach) in [
        (Fault::GivesALiveBlock, Breach::Overlap { start, end, other: 0 }),
        (Fault::Misaligns, Breach::Misaligned { start, align: 0 }),
        (Fault::GivesOutside, Breach::Outside { start, end }),
        (Fault::GivesTooLittle, Breach::Length { asked: 0, found: 0 }),
        (Fault::WritesIntoABlock, Breach::Lost { slot, at: 0 }),
        (Fault::RefusesAGoodFree, Breach::FreeRefused { slot, error: FreeError::Foreign }),
        (Fault::RefusesWithRoom, Breach::Refused { size: 0, align: 0, error: ERROR, reason: String::new() }),
        (Fault::Leaks, Breach::NotEmpty(String::new())),
    ] {
        let found = frame_breach(fault).unwrap_or_else(|| panic!("{fault:?} was not caught"));
        assert_eq!(like(&found), like(&breach), "{fault:?} was seen as: {found}");
    }
}

impl RangeSource for Broken<NaiveRanges> {
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError> {
        if self.now(Fault::RefusesWithRoom) {
            return Err(ERROR);
        }
        let extent = self.inner.allocate_range(request)?;
        let at = |start, length| Extent::new(start, length).unwrap();
        Ok(match self.fault {
            Fault::GivesALiveBlock if self.requests > 3 => at(0, extent.length()),
            Fault::Misaligns if request.align.get() > 1 => at(extent.start() + 1, extent.length()),
            Fault::GivesOutside => at(extent.start() + request.align.get() * 100_000, extent.length()),
            Fault::GivesTooLittle if extent.length() > 1 => at(extent.start(), extent.length() - 1),
            _ => extent,
        })
    }

    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError> {
        match self.fault {
            Fault::Leaks if self.inner.live().contains(&extent) && self.requests > 10 => {
                // Once only: the second free of the same range must be refused, or that is what shows.
                self.requests = 0;
                self.fault = Fault::None;
                self.inner.allocate_range(RangeRequest::new(core::num::NonZero::<u64>::MIN)).map(drop).ok();
                self.inner.free_range(extent)
            }
            Fault::RefusesAGoodFree => Err(FreeError::NotAllocated),
            Fault::TakesABadFree => self.inner.free_range(extent).or(Ok(())),
            _ => self.inner.free_range(extent),
        }
    }
}

fn range_breach(fault: Fault) -> Option<Breach> {
    let space = Extent::new(0, 1 << 13).unwrap();
    let check_empty =
        |broken: &Broken<NaiveRanges>| Violation::unless(broken.inner.live().is_empty(), "all is free", 0);
    let mut model = RangeModel::new(Broken::new(NaiveRanges::new(space), fault), &[space])
        .checking(|broken| broken.inner.check_invariants(), check_empty);
    if fault != Fault::Leaks {
        model = model.complete();
    }
    drive(&mut model, decode_all(&noise(3, LENGTH), RangeOp::decode), 1).err().map(|failure| failure.breach)
}

#[test]
#[cfg_attr(miri, ignore = "minutes long when interpreted, and it looks for no undefined behaviour")]
fn each_fault_of_a_range_source_is_caught() {
    assert_eq!(range_breach(Fault::None), None);
    let (start, end, slot) = (0, 0, 0);
    for (fault, breach) in [
        (Fault::GivesALiveBlock, Breach::Overlap { start, end, other: 0 }),
        (Fault::Misaligns, Breach::Misaligned { start, align: 0 }),
        (Fault::GivesOutside, Breach::Outside { start, end }),
        (Fault::GivesTooLittle, Breach::Length { asked: 0, found: 0 }),
        (Fault::RefusesAGoodFree, Breach::FreeRefused { slot, error: FreeError::NotAllocated }),
        (Fault::TakesABadFree, Breach::BadFreeTaken { start, end }),
        (Fault::RefusesWithRoom, Breach::Refused { size: 0, align: 0, error: ERROR, reason: String::new() }),
        (Fault::Leaks, Breach::NotEmpty(String::new())),
    ] {
        let found = range_breach(fault).unwrap_or_else(|| panic!("{fault:?} was not caught"));
        assert_eq!(like(&found), like(&breach), "{fault:?} was seen as: {found}");
    }
}
