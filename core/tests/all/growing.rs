//! `Growing`: asks its source at most twice, and only when more memory could help.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, FreeError, Growing, RegionError, RegionHeap, Source, growing::NoSource,
};

use crate::arena::leaked;
use crate::naive::Naive;

const WORD: Layout = Layout::new::<u64>();

/// Refuses with `errors` in turn, then serves from an inner allocator.
struct Refusing {
    errors: Vec<AllocError>,
    attempts: u32,
    inner: Naive<8>,
}

impl Refusing {
    fn attempt(&mut self) -> Result<(), AllocError> {
        self.attempts += 1;
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors.remove(0)) }
    }
}

// SAFETY: every block is the inner allocator's.
unsafe impl ByteAllocator for Refusing {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.attempt()?;
        self.inner.allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.deallocate(block, layout) }
    }

    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        self.attempt()?;
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.reallocate(block, layout, new_size) }
    }
}

/// Counts; gives nothing, but says that it did, unless its `limit` is reached.
struct Counting {
    asked: Vec<Layout>,
    limit: usize,
}

// SAFETY: it does not touch the engine.
unsafe impl Source<Refusing> for Counting {
    fn acquire(&mut self, _: &mut Refusing, layout: Layout) -> Result<(), RegionError> {
        self.asked.push(layout);
        if self.asked.len() > self.limit { Err(RegionError::TableFull) } else { Ok(()) }
    }
}

fn growing(errors: &[AllocError], limit: usize) -> Growing<Refusing, Counting> {
    let mut inner = Naive::EMPTY;
    let region = NonNull::from(leaked(64));
    let region = NonNull::slice_from_raw_parts(region.cast::<u8>(), region.len());
    // SAFETY: leaked for this allocator.
    assert_eq!(unsafe { inner.add_region(region) }, Ok(()));
    Growing::new(Refusing { errors: errors.to_vec(), attempts: 0, inner }, Counting { asked: vec![], limit })
}

use AllocError::{Alignment, Fragmented, OutOfMemory, TooLarge};

#[test]
fn asks_at_most_twice_and_keeps_the_last_error() {
    // (what the engine says in turn, gifts, outcome, times asked, attempts)
    type Case<'a> = (&'a [AllocError], usize, Result<(), AllocError>, usize, u32);
    let cases: [Case<'_>; 7] = [
        (&[], 9, Ok(()), 0, 1),
        (&[OutOfMemory], 9, Ok(()), 1, 2),
        (&[TooLarge, Fragmented], 9, Ok(()), 2, 3),
        (&[OutOfMemory, Fragmented, TooLarge, OutOfMemory], 9, Err(TooLarge), 2, 3),
        (&[Fragmented], 0, Err(Fragmented), 1, 1),
        (&[Fragmented, OutOfMemory], 1, Err(OutOfMemory), 2, 2),
        (&[Alignment], 9, Err(Alignment), 0, 1),
    ];
    for (errors, gifts, outcome, asked, attempts) in cases {
        let mut heap = growing(errors, gifts);
        assert_eq!(heap.allocate(WORD).map(|_| ()), outcome, "{errors:?}");
        assert_eq!((heap.source().asked.len(), heap.engine().attempts), (asked, attempts), "{errors:?}");
        let mut heap = growing(errors, gifts);
        assert_eq!(heap.allocate_zeroed(WORD).map(|_| ()), outcome, "{errors:?}");
        assert_eq!(heap.source().asked.len(), asked, "{errors:?}");
    }
}

#[test]
fn a_reallocation_asks_for_its_new_size_and_keeps_the_block() {
    let mut heap = growing(&[], 9);
    let block = heap.allocate(WORD).unwrap();
    // SAFETY: `attempt` only counts.
    unsafe { heap.engine_mut() }.errors = vec![OutOfMemory, TooLarge, Fragmented];
    // SAFETY: live, with its layout.
    let refused = unsafe { heap.reallocate(block, WORD, 24) };
    assert_eq!(refused, Err(Fragmented));
    assert_eq!(heap.source().asked, [Layout::from_size_align(24, WORD.align()).unwrap(); 2]);
    // SAFETY: live, with its layout: the refusal left it.
    assert_eq!(unsafe { heap.reallocate(block, WORD, 24) }, Ok(block));
}

#[test]
fn the_engine_itself_bypasses_the_source() {
    let mut heap = growing(&[OutOfMemory], 9);
    // SAFETY: an allocation leaves the engine in place.
    let refused = unsafe { heap.engine_mut() }.allocate(WORD);
    assert_eq!((refused, heap.source().asked.len()), (Err(OutOfMemory), 0));
}

#[test]
fn without_a_source_nothing_grows() {
    let mut heap: Growing<Naive<8>, NoSource> = Growing::EMPTY;
    assert_eq!(heap.allocate(WORD), Err(TooLarge));
    let region = NonNull::from(leaked(64));
    // SAFETY: leaked for this allocator.
    let added = unsafe { heap.add_region(NonNull::slice_from_raw_parts(region.cast(), region.len())) };
    assert_eq!(added, Ok(()));
    assert!(heap.allocate(WORD).is_ok());
}
