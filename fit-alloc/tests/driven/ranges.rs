//! Range allocators of every policy as the test kit's model wants them: for the replay of the corpus and for the fuzz
//! target.

use hectare_core::{CheckInvariants, Extent, Violation};
use hectare_fit::policy::{
    BestFit, Chunk, FirstFit, GoodFit, HalfFit, LastFit, NextFit, Policy, WorstFit, chunks_for,
};
use hectare_fit::range::{Node, RangeAllocator, Slices, Storage, Unit, Vecs};
use hectare_testkit::drive::RangeModel;
use hectare_testkit::fuzz;

/// How many kinds of allocators there are.
pub(crate) const KINDS: usize = 9;

/// Drives the allocator of this kind with the operations in the bytes.
///
/// # Panics
/// It broke a rule.
pub(crate) fn drive(kind: usize, bytes: &[u8]) {
    match kind {
        0 => growing::<BestFit>(bytes),
        1 => growing::<FirstFit>(bytes),
        2 => growing::<NextFit>(bytes),
        3 => growing::<WorstFit>(bytes),
        4 => growing::<LastFit>(bytes),
        5 => growing::<GoodFit>(bytes),
        6 => fuzz::ranges(model::<HalfFit, u32, _>(Vecs::by_start()).rounding_up(), bytes),
        7 => fixed::<BestFit>(bytes),
        _ => fixed::<FirstFit>(bytes),
    }
}

/// In vectors: refused only if no place would do.
fn growing<P: Policy>(bytes: &[u8]) {
    fuzz::ranges(model::<P, u32, _>(Vecs::by_start()).complete(), bytes);
}

/// In tables that fill up, without buckets.
fn fixed<P: Policy>(bytes: &[u8]) {
    let (mut nodes, mut chunks) = ([Node::NEW; 20], [Chunk::NEW; 20]);
    assert!(chunks_for(nodes.len()) <= chunks.len());
    fuzz::ranges(model::<P, u64, _>(Slices::new(&mut nodes).with_chunks(&mut chunks)), bytes);
}

fn model<P: Policy, U: Unit + TryFrom<u64>, S: Storage<U>>(
    storage: S,
) -> RangeModel<RangeAllocator<P, U, S>> {
    let space = Extent::new(9, 1 << 14).expect("a space");
    let unit = |number| U::try_from(number).ok().expect("a number of few bits");
    let source = RangeAllocator::over(unit(space.start())..unit(space.end()), storage).expect("a space");
    let one_hole = |source: &RangeAllocator<P, U, S>| {
        Violation::unless(source.holes().count() == 1, "one hole is left", 0)
    };
    RangeModel::new(source, &[space]).checking(CheckInvariants::check_invariants, one_hole)
}
