//! Worst cases: a full heap with many holes, and the requests that make a search long.

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;

use hectare_core::{ByteAllocator, RegionHeap};
use hectare_fit::{BoundedHeap, StrictHeap};

use super::{Bound, Figure};
use crate::arena::Arena;
use crate::clock::thread_ns;
use crate::peers::Talc;
use crate::rounds::median;
use crate::subject::Subject;

/// The holes' bytes.
const HOLE: usize = 4096;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a power of two")
}

/// A heap in which only `holes` holes of `size` bytes are free, with a block of 64 bytes between any two; the one that
/// was freed first, and so is last in its list, has `first` bytes.
fn full_of_holes<A: RegionHeap>(arena: &mut Arena, holes: usize, size: usize, first: usize) -> A {
    let mut heap = A::EMPTY;
    let bytes = (holes + 1) * (size + 64) * 66 / 64 + (1 << 16);
    // SAFETY: the arena is valid and nobody else's.
    unsafe { heap.add_region(arena.region(bytes)) }.expect("the arena holds a map");
    let mut blocks: Vec<(NonNull<u8>, Layout)> = vec![];
    for nth in 0..holes {
        let hole = layout(if nth == 0 { first } else { size }, 16);
        blocks.push((heap.allocate(hole).expect("there is room"), hole));
        heap.allocate(layout(64, 16)).expect("there is room");
    }
    for size in [1 << 20, 1 << 16, 4096, 256, 16] {
        while heap.allocate(layout(size, 16)).is_ok() {}
    }
    for (block, layout) in blocks {
        // SAFETY: a live block.
        unsafe { heap.deallocate(block, layout) }.expect("a live block");
    }
    heap
}

/// The median time of a request that is refused, or given back at once.
fn refused<A: ByteAllocator>(heap: &mut A, request: Layout) -> (f64, bool) {
    let mut served = false;
    let times: Vec<f64> = (0..101)
        .map(|_| {
            let start = thread_ns();
            for _ in 0..10 {
                if let Ok(block) = black_box(heap.allocate(request)) {
                    served = true;
                    // SAFETY: just allocated.
                    unsafe { heap.deallocate(block, request) }.expect("a live block");
                }
            }
            (thread_ns() - start) as f64 / 10.0
        })
        .collect();
    (median(&times).unwrap_or(f64::NAN), served)
}

fn talc_refused(arena: &mut Arena, holes: usize, request: Layout) -> f64 {
    // SAFETY: the arena is valid and nobody else's.
    let mut talc = unsafe { Talc::build(arena.region(64 << 20)) }.expect("room for its tables");
    let (hole, between) = (layout(HOLE - 32, 8), layout(64, 8));
    let blocks: Vec<*mut u8> = (0..holes).map(|_| (talc.allocate(hole), talc.allocate(between)).0).collect();
    for size in [1 << 20, 1 << 16, 4096, 256, 16] {
        while !talc.allocate(layout(size, 8)).is_null() {}
    }
    for block in blocks {
        // SAFETY: a live block.
        unsafe { talc.deallocate(block, hole) };
    }
    let times: Vec<f64> = (0..11)
        .map(|_| {
            let start = thread_ns();
            black_box(talc.allocate(request));
            (thread_ns() - start) as f64
        })
        .collect();
    median(&times).unwrap_or(f64::NAN)
}

/// The figures.
///
/// # Panics
/// There is not so much memory, or a heap lost blocks.
#[must_use]
pub fn figures() -> Vec<Figure> {
    let mut arena = Arena::new(64 << 20).expect("64 MiB of memory");
    arena.touch(64 << 20);
    let mut figures = vec![];
    let mut bounded_ns = vec![];
    for holes in [100, 1_000, 10_000] {
        // One granule too small for the request, and in the same bin.
        let mut heap = full_of_holes::<BoundedHeap>(&mut arena, holes, HOLE + 16, HOLE + 16);
        let (ns, served) = refused(&mut heap, layout(HOLE + 32, 16));
        assert!(!served, "no hole holds it");
        bounded_ns.push(ns);
        let mut heap = full_of_holes::<StrictHeap>(&mut arena, holes, HOLE + 16, HOLE + 16);
        let (complete, _) = refused(&mut heap, layout(HOLE + 32, 16));
        figures.push(Figure::value(
            format!("refusal among {holes} holes a granule too small: bounded, ns"),
            ns,
            Bound::Recorded,
        ));
        figures.push(Figure::value(
            format!("refusal among {holes} holes a granule too small: complete, ns"),
            complete,
            Bound::Recorded,
        ));
    }
    figures.push(Figure {
        timed: true,
        ..Figure::value(
            "bounded refusal: time among 10 000 holes over among 100",
            bounded_ns[2] / bounded_ns[0],
            Bound::AtMost(1.5),
        )
    });
    let talc = talc_refused(&mut arena, 10_000, layout(HOLE, 8));
    figures.push(Figure::time(
        "bounded refusal among 10 000 holes, beside talc: ns",
        bounded_ns[2],
        talc,
        Bound::AtLeast(10.0),
    ));
    let mut heap = full_of_holes::<StrictHeap>(&mut arena, 10_000, HOLE, HOLE);
    let found = (0..40).filter(|_| heap.allocate(layout(64, 4096)).is_ok()).count();
    figures.push(Figure::value(
        "of 40 requests (64, align 4096) among 10 000 holes of 4 KiB, served (complete)",
        found as f64,
        Bound::AtLeast(40.0),
    ));
    let mut heap = full_of_holes::<StrictHeap>(&mut arena, 10_000, HOLE + 16, HOLE + 32);
    figures.push(Figure::value(
        "the one hole that fits, last of 10 000 in its list, is found (complete)",
        f64::from(u8::from(heap.allocate(layout(HOLE + 32, 16)).is_ok())),
        Bound::AtLeast(1.0),
    ));
    figures
}
