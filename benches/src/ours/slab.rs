//! The slab heap, over a buddy system whose frames are the arena.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_buddy::{Bank, Banks, Engine, Frames, Rows64, words_for};
use hectare_core::{ByteAllocator, DirectMap, Frame, FrameRun, PhysAddr};
use hectare_slab::SlabHeap;

use crate::heap::{OpKind, Program};
use crate::subject::{Subject, or_null};

/// log2 of the frames' size.
const FRAME: u8 = 10;

/// The heap; the buddy system's rows lie at the start of the arena.
#[derive(Debug)]
pub struct Slab {
    heap: SlabHeap<Frames<'static, Rows64, FRAME>, DirectMap>,
    rows: usize,
}

impl Slab {
    /// The heap.
    #[must_use]
    pub fn heap(&self) -> &SlabHeap<Frames<'static, Rows64, FRAME>, DirectMap> {
        &self.heap
    }

    /// Frames that are free.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.heap.source().engine().free_frames()
    }

    /// Replays a program, frees what is live at its end, and gives back what is empty.
    ///
    /// # Panics
    /// A request is refused: the arena is smaller than twice the program's peak.
    pub fn replay_and_free(&mut self, program: &Program) {
        let mut blocks: Vec<*mut u8> = vec![core::ptr::null_mut(); program.slots()];
        for op in program.ops().iter().chain(program.survivors()) {
            let block = &mut blocks[op.slot as usize];
            match op.kind {
                OpKind::Allocate | OpKind::AllocateZeroed => *block = self.allocate(op.layout()),
                // SAFETY: the block is live with this layout.
                OpKind::Free => unsafe { self.deallocate(*block, op.old_layout()) },
                // SAFETY: as above, and the new size is not 0.
                OpKind::Reallocate => unsafe {
                    *block = self.reallocate(*block, op.old_layout(), op.size as usize);
                },
            }
            assert!(op.kind == OpKind::Free || !block.is_null(), "twice the peak is enough");
        }
        self.heap.shrink();
    }
}

// SAFETY: every request goes to the heap.
unsafe impl Subject for Slab {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        let start = arena.cast::<u8>();
        let (first, frames) = (start.addr().get() as u64 >> FRAME, arena.len() as u64 >> FRAME);
        let words = words_for::<Rows64>(FrameRun::new(Frame::new(first), frames)?)?;
        let rows = words * size_of::<u64>() + size_of::<Bank>();
        let used = rows.div_ceil(1 << FRAME) as u64;
        let run = FrameRun::new(Frame::new(first + used), frames.checked_sub(used)?)?;
        let table = start.cast::<Bank>();
        // SAFETY: the arena is ours, aligned to 2 MiB, and longer than the tables.
        unsafe { table.write(None) };
        // SAFETY: as above; the words begin behind the one bank.
        let words_start = unsafe { table.add(1) }.cast::<u64>();
        // SAFETY: as above; zeros are words.
        unsafe { words_start.write_bytes(0, words) };
        // SAFETY: written above; the arena outlives the subject (caller), and nobody else uses these bytes.
        let mut banks = Banks::new(unsafe { core::slice::from_raw_parts_mut(table.as_ptr(), 1) });
        banks.add(run).ok()?;
        // SAFETY: as above.
        let words = unsafe { core::slice::from_raw_parts_mut(words_start.as_ptr(), words) };
        let engine = Engine::new(banks, words).ok()?;
        // SAFETY: the frames are the arena's, behind the tables, and nobody else's.
        let source = unsafe { Frames::new(engine) };
        // SAFETY: the arena, at the addresses where it is.
        let window =
            unsafe { DirectMap::new(start, PhysAddr::new(start.addr().get() as u64), arena.len() as u64) }?;
        Some(Box::new(Self { heap: SlabHeap::new(source, window), rows }))
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.heap.allocate(layout))
    }

    #[inline(always)]
    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        or_null(self.heap.allocate_zeroed(layout))
    }

    #[inline(always)]
    unsafe fn deallocate(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        let result = unsafe { self.heap.deallocate(block, layout) };
        debug_assert!(result.is_ok(), "a live block was not taken back");
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promise.
        or_null(unsafe { self.heap.reallocate(block, layout, new_size) })
    }

    fn metadata_bytes(&self) -> usize {
        size_of::<Self>() + self.rows
    }
}
