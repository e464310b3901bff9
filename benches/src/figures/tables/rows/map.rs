//! Mapping runs of leaves: base pages and 2 MiB.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

use core::hint::black_box;

use hectare_core::Page;
use hectare_paging::table::MapOptions;
use x86_64::structures::paging::{Mapper, Page as X64Page, PhysFrame, Size2MiB};

use super::{BYTES, START, generic_config, map_multiarch, map_x64, store_loop, x64_flags};
use crate::figures::tables::peers::{self, Generic, Multiarch, X64Frames};
use crate::figures::tables::{
    FIRST, LEAVES, MEMORY, X64, beside, best, contest, empty, frames, timed, tlb, user,
};
use crate::figures::{Bound, Figure};

pub(super) fn map(rounds: usize) -> Vec<Figure> {
    let mut words = vec![0_u64; LEAVES as usize];
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = empty::<X64>();
                let ns = timed(LEAVES, || {
                    table.map(Page::new(FIRST), frames(MEMORY, LEAVES), user(), MapOptions::BASE_PAGES)
                });
                table.destroy(&tlb());
                ns
            }),
            Box::new(|| timed(LEAVES, || store_loop(black_box(&mut words)))),
            Box::new(|| {
                let (mut table, root) = peers::x64();
                let ns = timed(LEAVES, || map_x64(&mut table));
                peers::free_x64(root, 4);
                ns
            }),
            Box::new(|| {
                let mut table = Multiarch::try_new().expect("a root");
                timed(LEAVES, || map_multiarch(&mut table, BYTES, false))
            }),
            Box::new(|| {
                let mut table = Generic::new(peers::GenericFrames).expect("a root");
                timed(LEAVES, || {
                    table.map(&generic_config(START, MEMORY << 12, BYTES, false)).expect("mapped")
                })
            }),
            Box::new(|| {
                let mut table = peers::aarch64();
                let flags = peers::aarch64_flags(true);
                timed(LEAVES, || peers::map_aarch64(&mut table, START, MEMORY << 12, BYTES, flags, false))
            }),
        ],
        rounds,
    );
    vec![
        beside("tables: map 1 GiB of 4 KiB leaves, ns beside the store loop", ns[0], ns[1], 1.5),
        Figure::time(
            "tables: map 1 GiB of 4 KiB leaves, ns beside the best peer",
            ns[0],
            best(&ns[2..]),
            Bound::AtLeast(4.0),
        ),
    ]
}

pub(super) fn huge(rounds: usize) -> Vec<Figure> {
    const HUGE: u64 = 1 << 15;
    let bytes = HUGE << 21;
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = empty::<X64>();
                let options = MapOptions::DEFAULT.with_largest(hectare_core::PageSize::SIZE_2M);
                let ns =
                    timed(HUGE, || table.map(Page::new(FIRST), frames(MEMORY, HUGE << 9), user(), options));
                table.destroy(&tlb());
                ns
            }),
            Box::new(|| {
                let (mut table, root) = peers::x64();
                let ns = timed(HUGE, || {
                    for nth in 0..HUGE {
                        let at = x86_64::VirtAddr::new(START + (nth << 21));
                        let memory = x86_64::PhysAddr::new((MEMORY << 12) + (nth << 21));
                        let page = X64Page::<Size2MiB>::containing_address(at);
                        let frame = PhysFrame::containing_address(memory);
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
                timed(HUGE, || {
                    let mut cursor = table.cursor();
                    for nth in 0..HUGE {
                        let at = ((START + (nth << 21)) as usize).into();
                        let memory = (((MEMORY << 12) + (nth << 21)) as usize).into();
                        cursor
                            .map(at, memory, page_table_multiarch::PageSize::Size2M, flags)
                            .expect("mapped");
                    }
                })
            }),
            Box::new(|| {
                // Its calls take the largest leaves that fit: memory that is 2 MiB off keeps it at 2 MiB.
                let mut table = Generic::new(peers::GenericFrames).expect("a root");
                let config = generic_config(START, (MEMORY << 12) + (1 << 21), bytes, true);
                timed(HUGE, || table.map(&config).expect("mapped"))
            }),
            Box::new(|| {
                let mut table = peers::aarch64();
                let flags = peers::aarch64_flags(true);
                timed(HUGE, || {
                    peers::map_aarch64(&mut table, START, (MEMORY << 12) + (1 << 21), bytes, flags, true);
                })
            }),
        ],
        rounds,
    );
    vec![Figure::time(
        "tables: map 64 GiB of 2 MiB leaves, ns a leaf beside the best peer",
        ns[0],
        best(&ns[1..]),
        Bound::AtLeast(2.0),
    )]
}
