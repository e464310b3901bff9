//! A copy for a fork, and the map of each format.

use core::hint::black_box;

use hectare_core::Page;
use hectare_paging::format::{AArch64, Ept, Pae, Stage2, Sv32, Sv39, Sv48, Sv57, X86, X86_64, aarch64};
use hectare_paging::table::MapOptions;
use hectare_paging::{TableFormat, Touched};

use super::store_loop;
use crate::figures::Figure;
use crate::figures::tables::{
    FIRST, LEAVES, MEMORY, Ours, Pass, X64, beside, contest, empty, frames, mapped, pages, timed, tlb, used,
    user,
};

/// A fork: every leaf into a second table, the right to write taken from both, beside the loop that copies the entries
/// and counts a reference to each frame.
pub(super) fn fork(rounds: usize) -> Vec<Figure> {
    let mut words = vec![0_u64; LEAVES as usize];
    store_loop(&mut words);
    let mut copy = vec![0_u64; LEAVES as usize];
    let mut counts = vec![0_u32; LEAVES as usize];
    let mut other_counts = vec![0_u32; LEAVES as usize];
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = mapped::<X64>(used());
                let mut child = empty::<X64>();
                let ns = timed(LEAVES, || {
                    let copied = table.copy_into(pages(FIRST, LEAVES), &mut child, true, |run| {
                        let first = (run.frames().first().number() - MEMORY) as usize;
                        for count in &mut counts[first..first + run.frames().count() as usize] {
                            *count += 1;
                        }
                    });
                    let (token, fresh) = copied.expect("copied");
                    table.finish(token, &tlb()).expect("its own token");
                    fresh.finish(&tlb());
                });
                table.destroy(&tlb());
                child.destroy(&tlb());
                ns
            }),
            Box::new(|| {
                timed(LEAVES, || {
                    let (words, copy) = (black_box(&mut words), black_box(&mut copy));
                    for ((word, copy), count) in words.iter_mut().zip(copy).zip(&mut other_counts) {
                        *word &= !2;
                        *copy = *word;
                        *count += 1;
                    }
                })
            }),
        ],
        rounds,
    );
    vec![beside("tables: fork 1 GiB of 4 KiB leaves, A=D=1, ns beside its loop", ns[0], ns[1], 2.0)]
}

/// Map, as in the first figure, in this format: as many leaves in each, whatever they cover, so that the tables above
/// them weigh alike. Every table is taken and filled, or zeroed where it is not, within the time. The same was mapped
/// once before, so that tables of each size lie in caches alike: formats with 4 KiB tables use each other's.
fn ours_map<F: TableFormat>() -> f64 {
    let mut table = empty::<F>();
    let options = MapOptions { largest: Some(F::PAGE), contiguous: false, touched: Touched::DIRTY };
    let attributes = F::nearest(user());
    // From the bottom of what the format reaches.
    let reach = F::SHIFTS[F::LEVELS].min(48) - F::PAGE.log2() - 1;
    assert!(LEAVES <= 1 << reach, "every format reaches that far");
    let count = LEAVES;
    let start = F::delinear(0).value() >> F::PAGE.log2();
    let memory = frames(0x1000, count);
    let map = |table: &mut Ours<F>| {
        table.map(Page::new(start), memory, attributes, options).expect("mapped").finish(&tlb());
    };
    map(&mut table);
    let token = table.forget(pages(start, count)).expect("no table is needed");
    table.finish(token, &tlb()).expect("its own token");
    let ns = timed(count, || map(&mut table));
    table.destroy(&tlb());
    ns
}

pub(super) fn formats(rounds: usize) -> Vec<Figure> {
    macro_rules! all {
        ($($format:ty),* $(,)?) => {{
            let names = [$(<$format as hectare_paging::Format>::NAME),*];
            (names, contest(vec![$(Box::new(|| ours_map::<$format>()) as Pass<'_>),*], rounds))
        }};
    }
    let (names, ns) = all!(
        X86_64<4>,
        X86_64<5>,
        X86,
        Pae,
        Sv32,
        Sv39,
        Sv48,
        Sv57,
        Ept,
        AArch64<12>,
        AArch64<12, 52, { aarch64::LPA2 }>,
        AArch64<14>,
        AArch64<16>,
        Stage2<12, 40>,
    );
    let row = |(name, ns_of): (&str, f64)| {
        beside(&format!("tables: map in the format {name}, ns a leaf beside x86-64"), ns_of, ns[0], 1.3)
    };
    names.into_iter().zip(ns.clone()).skip(1).map(row).collect()
}
