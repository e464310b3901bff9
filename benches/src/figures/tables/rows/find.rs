//! Translating addresses, one and many.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

use hectare_core::{Page, VirtAddr};
use hectare_paging::table::{Hit, MapOptions};
use x86_64::structures::paging::{Mapper, Page as X64Page, PhysFrame, Size4KiB, Translate};

use super::{BYTES, START, generic_mapped, map_x64, multiarch_mapped, x64_flags};
use crate::figures::tables::peers::{self, X64Frames};
use crate::figures::tables::{
    FIRST, LEAVES, MEMORY, Pass, X64, address, best, contest, empty, frames, mapped, timed, tlb, user,
};
use crate::figures::{Bound, Figure, Random};

/// So many random addresses in the first `count` pages of the common range.
fn addresses(many: usize, count: u64, seed: u64) -> Vec<VirtAddr> {
    let mut random = Random::new(seed);
    (0..many).map(|_| address(FIRST + random.range(0, count as usize) as u64)).collect()
}

pub(super) fn find(rounds: usize) -> Vec<Figure> {
    let table = mapped::<X64>(MapOptions::BASE_PAGES);
    let (mut x64, root) = peers::x64();
    map_x64(&mut x64);
    let multiarch = multiarch_mapped(BYTES, false);
    let generic = generic_mapped(BYTES, false);
    let addresses = addresses(1 << 16, LEAVES, 3);
    let units = addresses.len() as u64;
    macro_rules! pass {
        (|$at:ident| $body:expr) => {
            Box::new(|| {
                timed(units, || {
                    let mut sum = 0_u64;
                    for $at in &addresses {
                        sum = sum.wrapping_add($body);
                    }
                    sum
                })
            }) as Pass<'_>
        };
    }
    let ns = contest(
        vec![
            pass!(|at| table.find(*at).map_or(0, |hit| hit.address.value())),
            pass!(|at| x64
                .translate_addr(x86_64::VirtAddr::new(at.value()))
                .map_or(0, |found| found.as_u64())),
            pass!(|at| multiarch
                .query((at.value() as usize).into())
                .map_or(0, |found| found.0.as_usize() as u64)),
            pass!(|at| generic
                .translate_phys((at.value() as usize).into())
                .map_or(0, |found| found.as_usize() as u64)),
        ],
        rounds,
    );
    peers::free_x64(root, 4);
    table.destroy(&tlb());
    let mut figure = Figure::beside(
        "tables: translate at random in 1 GiB, ns beside the best peer",
        ns[0],
        best(&ns[1..]),
        Bound::AtMost(1.0),
    );
    figure.timed = true;
    vec![figure]
}

pub(super) fn find_many(rounds: usize) -> Vec<Figure> {
    const PAGES: u64 = 1 << 24;
    let mut table = empty::<X64>();
    table
        .map(Page::new(FIRST), frames(MEMORY, PAGES), user(), MapOptions::BASE_PAGES)
        .expect("mapped")
        .finish(&tlb());
    // Most of the 128 MiB of entries: more than a cache holds, whoever else uses it.
    let addresses = addresses(1 << 21, PAGES, 5);
    let units = addresses.len() as u64;
    let ours = contest(
        vec![
            Box::new(|| {
                let mut hits: [Option<Hit<X64>>; 64] = [None; 64];
                timed(units, || {
                    let mut sum = 0_u64;
                    for addresses in addresses.chunks_exact(64) {
                        table.find_many(addresses, &mut hits);
                        for hit in hits.iter().flatten() {
                            sum = sum.wrapping_add(hit.address.value());
                        }
                    }
                    sum
                })
            }),
            Box::new(|| {
                timed(units, || {
                    let found = addresses.iter().filter_map(|at| table.find(*at));
                    found.map(|hit| hit.address.value()).fold(0, u64::wrapping_add)
                })
            }),
        ],
        rounds,
    );
    table.destroy(&tlb());
    let multiarch = multiarch_mapped(PAGES << 12, false);
    let peer = contest(
        vec![Box::new(|| {
            timed(units, || {
                let mut sum = 0_u64;
                for at in &addresses {
                    let found = multiarch.query((at.value() as usize).into());
                    sum = sum.wrapping_add(found.map_or(0, |found| found.0.as_usize() as u64));
                }
                sum
            })
        })],
        rounds,
    );
    drop(multiarch);
    let (mut x64, root) = peers::x64();
    for nth in 0..PAGES {
        let page = X64Page::<Size4KiB>::containing_address(x86_64::VirtAddr::new(START + (nth << 12)));
        let frame = PhysFrame::containing_address(x86_64::PhysAddr::new((MEMORY + nth) << 12));
        // SAFETY: the table is never loaded.
        unsafe { x64.map_to(page, frame, x64_flags(), &mut X64Frames) }.expect("mapped").ignore();
    }
    let other = contest(
        vec![Box::new(|| {
            timed(units, || {
                let found = addresses.iter().map(|at| x64.translate_addr(x86_64::VirtAddr::new(at.value())));
                found.map(|found| found.map_or(0, |found| found.as_u64())).fold(0, u64::wrapping_add)
            })
        })],
        rounds,
    );
    peers::free_x64(root, 4);
    let peer = best(&[peer[0], other[0]]);
    vec![
        Figure::time(
            "tables: translate many at random in 64 GiB, ns beside the best peer's one",
            ours[0],
            peer,
            Bound::AtLeast(1.5),
        ),
        Figure::time(
            "tables: translate one at random in 64 GiB, ns beside the best peer",
            ours[1],
            peer,
            Bound::Recorded,
        ),
    ]
}
