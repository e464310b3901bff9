//! What address spaces need of the kernel around them: frames, counts of their users, nodes, files, translation caches.
#![expect(unsafe_code, reason = "hands out pages of files, and blocks of the kernel's heap")]

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::AtomicU32;

use hectare::paging::space::index::HeapNodes;
use hectare::paging::space::{FrameRefs, Kernel, ObjectId, Pager, PagerError, RefTable};
use hectare::paging::table::{Invalidation, Tlb};
use hectare::{
    AllocError, ByteAllocator, DirectMap, Frame, FrameRequest, FrameRun, FreeError, Order, PhysWindow,
    SharedFrameSource,
};

use crate::Failure;
use crate::machine::{FRAME, Frames, all_of_memory};
use crate::objects::KernelHeap;

/// The kernel's heap as a byte allocator: the areas of an address space lie there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromHeap<'k, 'f, 'm>(&'k KernelHeap<'f, 'm>);

// SAFETY: all promises are the heap's.
unsafe impl ByteAllocator for FromHeap<'_, '_, '_> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.0.allocate_block(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.0.free_block(block, layout) }
    }
}

/// The page cache: one program, `/bin/init`, of five pages, whose bytes say which page they are of.
#[derive(Debug)]
pub(crate) struct Files<'k> {
    image: FrameRun,
    refs: RefTable<'k>,
}

pub(crate) const INIT: Option<ObjectId> = ObjectId::new(1);
const INIT_PAGES: u64 = 5;

// SAFETY: (1) the frames come from the source, and the window shows them; (2) `join` counts the caller; (3) the cache is a
// user as long as it lives; (4) it gives nothing up before; (5) nothing is swapped.
unsafe impl Pager for Files<'_> {
    fn page(&self, id: ObjectId, page: u64, _write: bool) -> Result<Frame, PagerError> {
        let frame = self.image.first().checked_add(page).filter(|_| Some(id) == INIT && page < INIT_PAGES);
        let frame = frame.ok_or(PagerError::Beyond)?;
        let run = FrameRun::new(frame, 1).ok_or(PagerError::Failed)?;
        self.refs.join(run).map_err(|_| PagerError::Failed)?;
        Ok(frame)
    }

    fn resident(&self, id: ObjectId, page: u64, count: u64, each: &mut dyn FnMut(u64, FrameRun)) {
        let (first, count) =
            (self.image.first().checked_add(page), count.min(INIT_PAGES.saturating_sub(page)));
        if let Some(run) = first.and_then(|first| FrameRun::new(first, count)).filter(|_| Some(id) == INIT) {
            each(page, run);
        }
    }
}

/// The translation caches of a machine whose CPU is simulated: it has none, and counts what real ones would be told.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    pub(crate) invalidations: Cell<u64>,
}

// SAFETY: the simulated CPU walks the tables for each access.
unsafe impl Tlb for Caches {
    fn invalidate(&self, _what: &Invalidation<'_>) {
        self.invalidations.set(self.invalidations.get() + 1);
    }
}

/// All of it together.
#[derive(Debug)]
pub(crate) struct Os<'k, 'f, 'm> {
    frames: &'k Frames<'m>,
    heap: &'k KernelHeap<'f, 'm>,
    pub(crate) window: DirectMap,
    refs: RefTable<'k>,
    counts: FrameRun,
    files: Files<'k>,
    pub(crate) caches: Caches,
}

impl<'k, 'f, 'm> Os<'k, 'f, 'm> {
    pub(crate) fn new(
        frames: &'k Frames<'m>,
        heap: &'k KernelHeap<'f, 'm>,
        window: DirectMap,
    ) -> Result<Self, Failure> {
        // A word for each frame of the machine.
        let memory = all_of_memory().ok_or("memory")?;
        let words = memory.count() as usize;
        let bytes = (words * size_of::<AtomicU32>()) as u64;
        let order = Order::holding(bytes.div_ceil(FRAME.bytes())).ok_or("an order")?;
        let counts = frames.allocate_frames(FrameRequest::order(order))?;
        let place = counts.first().start(FRAME).and_then(|start| window.pointer(start, bytes));
        let place = place.ok_or("outside the window")?.cast::<AtomicU32>();
        // SAFETY: the frames were just taken; zero is a value.
        unsafe { place.write_bytes(0, words) };
        // SAFETY: as above, and they are given back after the last use.
        let refs = RefTable::new(memory.first(), unsafe { slice::from_raw_parts(place.as_ptr(), words) });

        let image =
            frames.allocate_frames(FrameRequest::order(Order::holding(INIT_PAGES).ok_or("an order")?))?;
        refs.adopt(image);
        for (number, frame) in (0x10_u8..).zip(image.iter()) {
            let page = frame.start(FRAME).and_then(|start| window.pointer(start, FRAME.bytes()));
            // SAFETY: the frames were just taken.
            unsafe { page.ok_or("outside the window")?.write_bytes(number, FRAME.bytes() as usize) };
        }
        let files = Files { image, refs };
        Ok(Self { frames, heap, window, refs, counts, files, caches: Caches::default() })
    }

    /// Gives the page cache and the counts back, after the last address space.
    pub(crate) fn shut_down(self) -> Result<(), Failure> {
        for frame in self.files.image.iter() {
            assert!(self.refs.release(frame), "a page of a file is still used");
        }
        // SAFETY: the cache was the last user.
        unsafe { self.frames.free_frames(self.files.image) }?;
        // SAFETY: nobody counts any more.
        unsafe { self.frames.free_frames(self.counts) }?;
        Ok(())
    }
}

impl<'k, 'f, 'm> Kernel for Os<'k, 'f, 'm> {
    type Frames = &'k Frames<'m>;
    type Window = DirectMap;
    type Nodes = HeapNodes<FromHeap<'k, 'f, 'm>>;
    type Refs = RefTable<'k>;
    type Pager = Files<'k>;
    type Tlb = Caches;

    fn frames(&self) -> Self::Frames {
        self.frames
    }

    fn window(&self) -> DirectMap {
        self.window
    }

    fn nodes(&self) -> Self::Nodes {
        HeapNodes::new(FromHeap(self.heap))
    }

    fn refs(&self) -> &Self::Refs {
        &self.refs
    }

    fn pager(&self) -> &Files<'k> {
        &self.files
    }

    fn tlb(&self) -> &Caches {
        &self.caches
    }
}
