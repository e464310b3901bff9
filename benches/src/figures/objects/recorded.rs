//! Recorded kernel objects: nanoseconds an operation beside the best peer, and the smallest heap.

use super::timed;
use crate::arena::Arena;
use crate::figures::{Bound, Figure};
use crate::objects::{Allocator, Program, select, timed_apart};
use crate::rounds::{interleave, median};
use crate::traces::Source;

/// Ours, then the peers that do as much.
const NAMES: [&str; 6] =
    ["hectare-slab", "hectare-slab/cache", "hectare-slab/cpu", "hectare-slab/kmalloc", "slabmalloc", "talc"];
const OURS: usize = 4;

/// Each trace.
///
/// # Errors
/// The sentence about a trace that cannot be read.
///
/// # Panics
/// There is not so much memory.
pub fn figures(sources: &[Source], rounds: usize) -> Result<Vec<Figure>, String> {
    let names = NAMES.map(str::to_owned);
    let all: Vec<&'static Allocator> = select(&names).map_err(|name| format!("{name} is unknown"))?;
    let mut figures = vec![];
    for source in sources {
        let program: Program = source.objects()?;
        let bytes = program.arena_bytes(2);
        let mut arena = Arena::new(bytes).expect("memory for the arena");
        arena.touch(bytes);
        let mut pass = |who: usize| match all[who].apart {
            true => timed_apart(source, all[who]).unwrap_or(f64::INFINITY),
            false => {
                (all[who].timed)(&program, &mut arena, bytes, u64::MAX).map_or(f64::INFINITY, |pass| pass.0)
            }
        };
        for who in 0..all.len() {
            let _warm = pass(who);
        }
        let times = interleave(all.len(), rounds, |_| true, |_, who| pass(who));
        let ns: Vec<f64> = times.iter().map(|times| median(times).unwrap_or(f64::INFINITY)).collect();
        let best = ns[OURS..].iter().copied().fold(f64::INFINITY, f64::min);
        for who in 0..OURS {
            let bound = if who == 0 { Bound::AtLeast(2.0) } else { Bound::Recorded };
            let figure = format!("{}: ns/op, {} beside the best peer", program.name, all[who].name);
            figures.push(Figure::time(figure, ns[who], best, bound));
        }
        for who in OURS..all.len() {
            let figure = format!("{}: ns/op, {}", program.name, all[who].name);
            figures.push(Figure { timed: true, ..Figure::value(figure, ns[who], Bound::Recorded) });
        }
        let mut arena = Arena::new(program.arena_bytes(8)).expect("memory for the arena");
        let smallest = |name: &str, arena: &mut Arena| {
            let allocator = all.iter().find(|allocator| allocator.name == name);
            allocator
                .and_then(|allocator| (allocator.smallest)(&program, arena, 1.2))
                .unwrap_or(f64::INFINITY)
        };
        let (ours, talc) = (smallest("hectare-slab", &mut arena), smallest("talc", &mut arena));
        let figure = format!("{}: smallest heap over peak, beside talc", program.name);
        figures.push(Figure { timed: false, ..timed(figure, ours, talc, Bound::Recorded) });
    }
    Ok(figures)
}
