//! The hot paths of the buddy engine: 1 GiB of frames of 4 KiB.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic; the macros write no documentation")]

use core::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hectare_benches::figures::Random;
use hectare_buddy::{Banks, Engine, Rows64, words_for};
use hectare_core::{Frame, FrameRun, Order};

const FRAMES: u64 = 1 << 18;

fn order(k: u8) -> Order {
    Order::new(k).unwrap()
}

fn frames(criterion: &mut Criterion) {
    let mut places = [None; 1];
    let mut banks = Banks::new(&mut places);
    banks.add(FrameRun::new(Frame::new(0), FRAMES).unwrap()).unwrap();
    let mut words = vec![0; words_for::<Rows64>(banks.span().unwrap()).unwrap()];
    let mut engine = Engine::<Rows64>::new(banks, &mut words).unwrap();

    // A third of the memory in use, with holes of every order.
    let mut random = Random::new(3);
    let taken: Vec<_> = (0..6000)
        .map(|_| {
            let order = order(u8::try_from(random.range(0, 6)).unwrap());
            (engine.allocate_order(order).unwrap(), order)
        })
        .collect();
    for (first, order) in taken.into_iter().step_by(3) {
        engine.free_order(first, order).unwrap();
    }

    let mut group = criterion.benchmark_group("buddy");
    for k in [0, 3, 9] {
        group.bench_function(format!("pair of order {k}"), |bencher| {
            bencher.iter(|| {
                let first = engine.allocate_order(black_box(order(k))).unwrap();
                engine.free_order(black_box(first), order(k)).unwrap();
            });
        });
    }
    let mut live = Vec::new();
    group.bench_function("mixed orders 0 to 5, 500 live", |bencher| {
        bencher.iter(|| {
            if live.len() == 500 {
                let (first, order) = live.swap_remove(random.range(0, 500));
                engine.free_order(first, order).unwrap();
            }
            let order = order(u8::try_from(random.range(0, 6)).unwrap());
            live.push((engine.allocate_order(order).unwrap(), order));
        });
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
