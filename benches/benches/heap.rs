//! The hot paths of the byte heap: one figure each, for a quick look while changing them. Comparisons with others are the
//! business of `compare`, whose rounds are interleaved.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic; the macros write no documentation")]

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;

use criterion::{Criterion, criterion_group, criterion_main};
use hectare_benches::arena::Arena;
use hectare_benches::figures::Random;
use hectare_core::RegionHeap;
use hectare_fit::{FitHeap, StrictHeap};

const SIZE: usize = 64 << 20;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A heap with 1000 live blocks of mixed sizes, every other neighbour of which is free.
fn used<H: RegionHeap>(arena: &mut Arena) -> H {
    let mut heap = H::EMPTY;
    arena.touch(SIZE);
    // SAFETY: the caller builds one heap at a time in the arena.
    unsafe { heap.add_region(arena.region(SIZE)) }.unwrap();
    let mut random = Random::new(7);
    let blocks: Vec<_> = (0..2000)
        .map(|_| {
            let layout = layout(random.size(1000), 8);
            (heap.allocate(layout).unwrap(), layout)
        })
        .collect();
    for (block, layout) in blocks.into_iter().step_by(2) {
        give(&mut heap, block, layout);
    }
    heap
}

fn give<H: RegionHeap>(heap: &mut H, block: NonNull<u8>, layout: Layout) {
    // SAFETY: the benches give back what they took, once.
    unsafe { heap.deallocate(block, layout) }.unwrap();
}

fn pair<H: RegionHeap>(heap: &mut H, layout: Layout) {
    let block = heap.allocate(black_box(layout)).unwrap();
    give(heap, black_box(block), layout);
}

fn heap<H: RegionHeap>(criterion: &mut Criterion, name: &str) {
    let mut arena = Arena::new(SIZE).unwrap();
    let mut group = criterion.benchmark_group(name);
    for (what, layout) in [
        ("pair of 48", layout(48, 8)),
        ("pair of 5000", layout(5000, 8)),
        ("pair of 64 at 4096", layout(64, 4096)),
    ] {
        let mut heap = used::<H>(&mut arena);
        group.bench_function(what, |bencher| bencher.iter(|| pair(&mut heap, layout)));
    }

    let mut heap = used::<H>(&mut arena);
    let (mut random, mut live) = (Random::new(9), Vec::new());
    group.bench_function("mixed, 500 live", |bencher| {
        bencher.iter(|| {
            if live.len() == 500 {
                let (block, layout) = live.swap_remove(random.range(0, 500));
                give(&mut heap, block, layout);
            }
            let layout = layout(random.size(1000), random.align());
            live.push((heap.allocate(layout).unwrap(), layout));
        });
    });

    let mut heap = used::<H>(&mut arena);
    group.bench_function("a block grown from 16 to 64 KiB by doubling", |bencher| {
        bencher.iter(|| {
            let mut now = layout(16, 8);
            let mut block = heap.allocate(now).unwrap();
            while now.size() < 0x1_0000 {
                let next = now.size() * 2;
                // SAFETY: the block is live with this layout.
                block = unsafe { heap.reallocate(block, now, next) }.unwrap();
                now = layout(next, 8);
            }
            give(&mut heap, block, now);
        });
    });
    group.finish();
}

fn heaps(criterion: &mut Criterion) {
    heap::<FitHeap>(criterion, "FitHeap");
    heap::<StrictHeap>(criterion, "StrictHeap");
}

criterion_group!(benches, heaps);
criterion_main!(benches);
