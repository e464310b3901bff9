//! One page at a time.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

use hectare_core::Page;
use hectare_paging::table::MapOptions;
use x86_64::structures::paging::{Mapper, Page as X64Page, PhysFrame, Size4KiB};

use super::{generic_config, x64_flags};
use crate::figures::tables::peers::{self, Generic, Multiarch, X64Frames};
use crate::figures::tables::{FIRST, MEMORY, X64, best, contest, empty, frames, timed, tlb, user};
use crate::figures::{Bound, Figure, Random};

/// Odd pages are mapped; the even ones are, one by one, in random order.
pub(super) fn single(rounds: usize) -> Vec<Figure> {
    const PAGES: u64 = 1 << 16;
    let mut order: Vec<u64> = (0..PAGES).map(|nth| 2 * nth).collect();
    let mut random = Random::new(9);
    for nth in (1..order.len()).rev() {
        order.swap(nth, random.range(0, nth + 1));
    }
    let order = &order;
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = empty::<X64>();
                for nth in 0..PAGES {
                    let fresh = table.map(
                        Page::new(FIRST + 2 * nth + 1),
                        frames(1, 1),
                        user(),
                        MapOptions::BASE_PAGES,
                    );
                    fresh.expect("mapped").finish(&tlb());
                }
                let ns = timed(PAGES, || {
                    for page in order {
                        let (page, frame) = (Page::new(FIRST + page), frames(MEMORY + page, 1));
                        table
                            .map(page, frame, user(), MapOptions::BASE_PAGES)
                            .expect("mapped")
                            .finish(&tlb());
                    }
                });
                table.destroy(&tlb());
                ns
            }),
            Box::new(|| {
                let (mut table, root) = peers::x64();
                let mut one = |page: u64, frame: u64| {
                    let page =
                        X64Page::<Size4KiB>::containing_address(x86_64::VirtAddr::new((FIRST + page) << 12));
                    let frame = PhysFrame::containing_address(x86_64::PhysAddr::new(frame << 12));
                    // SAFETY: the table is never loaded.
                    unsafe { table.map_to(page, frame, x64_flags(), &mut X64Frames) }
                        .expect("mapped")
                        .ignore();
                };
                (0..PAGES).for_each(|nth| one(2 * nth + 1, 1));
                let ns = timed(PAGES, || order.iter().for_each(|page| one(*page, MEMORY + page)));
                peers::free_x64(root, 4);
                ns
            }),
            Box::new(|| {
                let mut table = Multiarch::try_new().expect("a root");
                let flags = peers::multiarch_flags(true);
                let mut one = |page: u64, frame: u64| {
                    let (at, memory) = (((FIRST + page) << 12) as usize, (frame << 12) as usize);
                    let size = page_table_multiarch::PageSize::Size4K;
                    table.cursor().map(at.into(), memory.into(), size, flags).expect("mapped");
                };
                (0..PAGES).for_each(|nth| one(2 * nth + 1, 1));
                timed(PAGES, || order.iter().for_each(|page| one(*page, MEMORY + page)))
            }),
            Box::new(|| {
                let mut table = Generic::new(peers::GenericFrames).expect("a root");
                let mut one = |page: u64, frame: u64| {
                    table
                        .map(&generic_config((FIRST + page) << 12, frame << 12, 4096, false))
                        .expect("mapped");
                };
                (0..PAGES).for_each(|nth| one(2 * nth + 1, 1));
                timed(PAGES, || order.iter().for_each(|page| one(*page, MEMORY + page)))
            }),
        ],
        rounds,
    );
    let mut figure = Figure::beside(
        "tables: map one 4 KiB page, tables there, ns beside the best peer",
        ns[0],
        best(&ns[1..]),
        Bound::AtMost(0.7),
    );
    figure.timed = true;
    vec![figure]
}

/// Single pages far apart: each needs tables of its own.
pub(super) fn sparse(rounds: usize) -> Vec<Figure> {
    const PAGES: u64 = 1 << 11;
    let mut random = Random::new(21);
    let mut places: Vec<u64> = (0..PAGES).map(|_| (random.bits() >> 17) >> 12 & !511).collect();
    places.sort_unstable();
    places.dedup();
    for nth in (1..places.len()).rev() {
        places.swap(nth, random.range(0, nth + 1));
    }
    let (places, units) = (&places, places.len() as u64);
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = empty::<X64>();
                let ns = timed(units, || {
                    for page in places {
                        let page = Page::new(*page);
                        let fresh = table.map(page, frames(MEMORY, 1), user(), MapOptions::BASE_PAGES);
                        fresh.expect("mapped").finish(&tlb());
                    }
                });
                table.destroy(&tlb());
                ns
            }),
            Box::new(|| {
                let (mut table, root) = peers::x64();
                let frame = PhysFrame::<Size4KiB>::containing_address(x86_64::PhysAddr::new(MEMORY << 12));
                let ns = timed(units, || {
                    for page in places {
                        let page = X64Page::containing_address(x86_64::VirtAddr::new(page << 12));
                        // SAFETY: the table is never loaded.
                        unsafe { table.map_to(page, frame, x64_flags(), &mut X64Frames) }
                            .expect("mapped")
                            .ignore();
                    }
                });
                peers::free_x64(root, 4);
                ns
            }),
            Box::new(|| {
                let mut table = Multiarch::try_new().expect("a root");
                let flags = peers::multiarch_flags(true);
                timed(units, || {
                    for page in places {
                        let (at, memory) = ((page << 12) as usize, (MEMORY << 12) as usize);
                        let size = page_table_multiarch::PageSize::Size4K;
                        table.cursor().map(at.into(), memory.into(), size, flags).expect("mapped");
                    }
                })
            }),
            Box::new(|| {
                let mut table = Generic::new(peers::GenericFrames).expect("a root");
                timed(units, || {
                    for page in places {
                        table.map(&generic_config(page << 12, MEMORY << 12, 4096, false)).expect("mapped");
                    }
                })
            }),
            Box::new(|| {
                let mut table = peers::aarch64();
                let flags = peers::aarch64_flags(true);
                timed(units, || {
                    for page in places {
                        peers::map_aarch64(&mut table, page << 12, MEMORY << 12, 4096, flags, false);
                    }
                })
            }),
        ],
        rounds,
    );
    let mut figure = Figure::beside(
        "tables: map one 4 KiB page that needs tables, ns beside the best peer",
        ns[0],
        best(&ns[1..]),
        Bound::AtMost(1.0),
    );
    figure.timed = true;
    vec![figure]
}
