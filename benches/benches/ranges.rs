//! The hot paths of the range allocators, with 3000 live ranges.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic; the macros write no documentation")]

use core::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hectare_benches::figures::Random;
use hectare_fit::policy::{BestFit, Chunk, FirstFit, GoodFit, NextFit, Policy};
use hectare_fit::range::{Node, RangeAllocator, Slices};

const LIVE: usize = 3000;

fn ranges<P: Policy>(criterion: &mut Criterion) {
    let (mut nodes, mut chunks) = (vec![Node::NEW; 4 * LIVE], vec![Chunk::NEW; 4 * LIVE]);
    let storage = Slices::new(&mut nodes).with_chunks(&mut chunks);
    let mut space = RangeAllocator::<P, u32, _>::new(1 << 24, storage).unwrap();
    let mut random = Random::new(5);
    let mut length = || u32::try_from(random.size(1000)).unwrap();
    let mut live: Vec<_> = (0..LIVE).map(|_| space.allocate(length()).unwrap().handle).collect();
    let mut turn = 0;
    // Live ranges go in an order that leaves holes everywhere.
    criterion.bench_function(&format!("{}, one taken and one freed, {LIVE} live", P::NAME), |bencher| {
        bencher.iter(|| {
            turn = (turn + 1009) % LIVE;
            space.free(live[turn]).unwrap();
            live[turn] = space.allocate(black_box(length())).unwrap().handle;
        });
    });
}

fn policies(criterion: &mut Criterion) {
    ranges::<BestFit>(criterion);
    ranges::<FirstFit>(criterion);
    ranges::<NextFit>(criterion);
    ranges::<GoodFit>(criterion);
}

criterion_group!(benches, policies);
criterion_main!(benches);
