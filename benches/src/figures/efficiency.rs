//! Heap efficiency: how much of an arena is in use when the first request fails. A well-known workload, written anew.

use core::alloc::Layout;

use hectare_core::Figures;
use hectare_fit::{FitHeap, StrictHeap};

use super::{Bound, Figure, Random};
use crate::arena::Arena;
use crate::ours::Region;
use crate::peers::{Dlmalloc, Rlsf, Talc};
use crate::subject::Subject;

const ARENA: usize = 128 << 20;

/// Of ten draws five allocate (to 10 000), one frees a random block and four resize one (to 100 000), until the first
/// refusal; the score is the sum of the requested sizes over the arena, averaged over `fills` fills.
fn measure<S: Subject>(arena: &mut Arena, fills: usize) -> f64 {
    let mut random = Random::new(77_777);
    let mut sum = 0.0;
    for _ in 0..fills {
        // SAFETY: the arena is valid, and nobody else's until the subject is gone.
        let mut subject =
            unsafe { S::build(arena.region(ARENA)) }.expect("128 MiB are enough for anyone's tables");
        let mut live: Vec<(*mut u8, Layout)> = vec![];
        for draw in (0..10).cycle() {
            if draw < 5 {
                // SAFETY: a power of two and a small size.
                let layout =
                    unsafe { Layout::from_size_align_unchecked(random.size(10_000), random.align()) };
                let block = subject.allocate(layout);
                if block.is_null() {
                    break;
                }
                live.push((block, layout));
                continue;
            }
            let which = random.range(0, live.len());
            if draw == 5 {
                let (block, layout) = live.swap_remove(which);
                // SAFETY: the block is live with this layout.
                unsafe { subject.deallocate(block, layout) };
                continue;
            }
            let new_size = random.range(1, 100_000);
            let (block, layout) = live[which];
            // SAFETY: the block is live with this layout.
            let moved = unsafe { subject.reallocate(block, layout, new_size) };
            if moved.is_null() {
                break;
            }
            // SAFETY: a valid alignment and a small size.
            live[which] = (moved, unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) });
        }
        sum += live.iter().map(|(_, layout)| layout.size()).sum::<usize>() as f64 / ARENA as f64;
    }
    sum / fills as f64 * 100.0
}

type Measure = fn(&mut Arena, usize) -> f64;

/// Ours and the best peers.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(fills: usize) -> Vec<Figure> {
    let mut arena = Arena::new(ARENA).expect("128 MiB of memory");
    let ours = measure::<Region<FitHeap>>(&mut arena, fills);
    let strict = measure::<Region<StrictHeap>>(&mut arena, fills);
    // SAFETY: the arena is valid, and nobody else's until the subject is gone.
    let subject = unsafe { Region::<StrictHeap>::build(arena.region(ARENA)) }.expect("128 MiB are enough");
    let map = subject.heap().usage().metadata_bytes as f64 / ARENA as f64 * 100.0;
    drop(subject);
    let mut figures = vec![
        Figure::value("heap efficiency, per cent of 128 MiB", ours, Bound::AtLeast(96.2)),
        Figure::value("heap efficiency (strict)", strict, Bound::AtLeast(96.2)),
        Figure::value("heap efficiency (strict), the map not counted", strict + map, Bound::Recorded),
    ];
    let peers: [(&str, Measure); 3] =
        [("talc", measure::<Talc>), ("rlsf", measure::<Rlsf>), ("dlmalloc", measure::<Dlmalloc>)];
    for (name, measure) in peers {
        let value = measure(&mut arena, fills);
        figures.push(Figure::value(format!("heap efficiency of {name}"), value, Bound::Recorded));
    }
    figures
}
