//! Deliberately wrong allocators: the proof that the checks see what they claim to see. Hidden in `compare`, but
//! selectable by name, so that its exit status can be tried on the program that ships.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::subject::Subject;

/// Hands out ever higher addresses and never takes anything back, correctly but for the fault `F`, which begins after
/// 40 requests.
#[derive(Debug)]
pub(crate) struct Broken<const F: u8> {
    next: usize,
    end: usize,
    base: *mut u8,
    requests: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// A block overlaps the one before by 16 bytes.
    Overlap,
    /// A block is 8 bytes off its alignment.
    Misaligned,
    /// A block lies beyond the arena.
    Outside,
    /// Zeroed memory is not zero.
    NotZeroed,
    /// Moving a block loses its last byte.
    LostByte,
    /// A request is refused although there is room.
    Refuses,
    /// The process dies.
    Crash,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Overlap,
        Self::Misaligned,
        Self::Outside,
        Self::NotZeroed,
        Self::LostByte,
        Self::Refuses,
        Self::Crash,
    ];
}

impl<const F: u8> Broken<F> {
    fn strikes(&self, fault: Fault) -> bool {
        Fault::ALL[usize::from(F)] == fault && self.requests > 40
    }
}

// SAFETY: only the checked pass and tests use these, with arenas that leave room for what the faults write.
unsafe impl<const F: u8> Subject for Broken<F> {
    unsafe fn build(arena: NonNull<[u8]>) -> Option<Box<Self>> {
        Some(Box::new(Self { next: 4096, end: arena.len(), base: arena.cast().as_ptr(), requests: 0 }))
    }

    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        self.requests += 1;
        if self.strikes(Fault::Crash) {
            std::process::abort();
        }
        let mut at = self.next.next_multiple_of(layout.align());
        if at + layout.size() > self.end || self.strikes(Fault::Refuses) {
            return core::ptr::null_mut();
        }
        self.next = (at + layout.size()).next_multiple_of(16);
        if self.strikes(Fault::Overlap) {
            at -= layout.align().max(16);
        } else if self.strikes(Fault::Misaligned) {
            at += 8;
        } else if self.strikes(Fault::Outside) {
            at = self.end;
        }
        self.base.wrapping_add(at)
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        let block = self.allocate(layout);
        if !block.is_null() {
            let value = u8::from(self.strikes(Fault::NotZeroed));
            // SAFETY: the block is valid for writes of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
            // SAFETY: as above; sizes are not 0.
            let last = unsafe { block.add(layout.size() - 1) };
            // SAFETY: as above.
            unsafe { last.write(value) };
        }
        block
    }

    unsafe fn deallocate(&mut self, _block: *mut u8, _layout: Layout) {}

    unsafe fn reallocate(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return core::ptr::null_mut();
        };
        let new = self.allocate(new_layout);
        let kept = layout.size().min(new_size) - usize::from(self.strikes(Fault::LostByte));
        if !new.is_null() {
            // SAFETY: both blocks are at least that long; an overlapping one is what `copy` allows for.
            unsafe { new.copy_from(block, kept) };
        }
        new
    }
}
