//! Changing a run of leaves: unmap, protect, forget.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

use core::hint::black_box;

use hectare_core::Permissions;
use hectare_paging::table::MapOptions;
use x86_64::structures::paging::{Mapper, PageTableFlags};

use super::{
    BYTES, START, aarch64_mapped, generic_mapped, map_x64, multiarch_mapped, store_loop, x64_flags, x64_pages,
};
use crate::figures::tables::peers;
use crate::figures::tables::{
    FIRST, LEAVES, MEMORY, Ours, X64, beside, best, contest, mapped, pages, timed, tlb, used,
};
use crate::figures::{Bound, Figure};

/// What an unmap does at least: look at each entry, note its frame, clear it.
fn clear_loop(words: &mut [u64]) -> u64 {
    let mut sum = 0_u64;
    for word in words {
        sum = sum.wrapping_add(*word & 0x000F_FFFF_FFFF_F000);
        *word = 0;
    }
    sum
}

fn ours_unmap(options: MapOptions) -> f64 {
    let mut table = mapped::<X64>(options);
    let mut count = 0;
    let ns = timed(LEAVES, || {
        let token = table.unmap(pages(FIRST, LEAVES), |run| count += run.frames().count()).expect("unmapped");
        table.finish(token, &tlb()).expect("its own token");
    });
    assert_eq!(count, LEAVES);
    table.destroy(&tlb());
    ns
}

pub(super) fn unmap(rounds: usize) -> Vec<Figure> {
    let mut words = vec![0_u64; LEAVES as usize];
    let ns = contest(
        vec![
            Box::new(|| ours_unmap(used())),
            Box::new(|| {
                store_loop(&mut words);
                timed(LEAVES, || clear_loop(black_box(&mut words)))
            }),
            Box::new(|| ours_unmap(MapOptions::BASE_PAGES)),
            Box::new(|| {
                let (mut table, root) = peers::x64();
                map_x64(&mut table);
                let mut sum = 0;
                let ns = timed(LEAVES, || {
                    for page in x64_pages() {
                        let (frame, flush) = table.unmap(page).expect("mapped");
                        sum += frame.start_address().as_u64();
                        flush.ignore();
                    }
                });
                black_box(sum);
                peers::free_x64(root, 4);
                ns
            }),
            Box::new(|| {
                let mut table = multiarch_mapped(BYTES, false);
                let mut sum = 0;
                timed(LEAVES, || {
                    let mut cursor = table.cursor();
                    for page in 0..LEAVES {
                        let at = ((START + (page << 12)) as usize).into();
                        sum += cursor.unmap(at).expect("mapped").0.as_usize();
                    }
                    sum
                })
            }),
            Box::new(|| {
                let mut table = generic_mapped(BYTES, false);
                let mut sum = 0;
                timed(LEAVES, || {
                    for page in 0..LEAVES {
                        let at = ((START + (page << 12)) as usize).into();
                        sum += table.unmap_page(at).expect("mapped").0.as_usize();
                    }
                    sum
                })
            }),
        ],
        rounds,
    );
    vec![
        beside("tables: unmap 1 GiB, frames reported, A=D=1, ns beside its loop", ns[0], ns[1], 3.0),
        Figure::time(
            "tables: unmap 1 GiB, frames reported, A=D=1, ns beside the best peer",
            ns[0],
            best(&ns[3..]),
            Bound::AtLeast(3.0),
        ),
        Figure::time(
            "tables: unmap 1 GiB, A=D=0: a swap each, ns beside the best peer (loses A, D)",
            ns[2],
            best(&ns[3..]),
            Bound::Recorded,
        ),
    ]
}

pub(super) fn protect(rounds: usize) -> Vec<Figure> {
    let mut ours = mapped::<X64>(used());
    let mut fresh = mapped::<X64>(MapOptions::BASE_PAGES);
    let (mut x64, root) = peers::x64();
    map_x64(&mut x64);
    let mut multiarch = multiarch_mapped(BYTES, false);
    let mut generic = generic_mapped(BYTES, false);
    let mut aarch64 = aarch64_mapped(BYTES, false);
    let read = Permissions::READ | Permissions::USER;
    let write = read | Permissions::WRITE;
    let again = |table: &mut Ours<X64>, rights| {
        let token = table.protect(pages(FIRST, LEAVES), rights).expect("protected");
        table.finish(token, &tlb()).expect("its own token");
    };
    let ns = contest(
        vec![
            Box::new(|| {
                again(&mut ours, write);
                timed(LEAVES, || again(&mut ours, read))
            }),
            Box::new(|| {
                again(&mut fresh, write);
                timed(LEAVES, || again(&mut fresh, read))
            }),
            Box::new(|| {
                let mut flags = x64_flags();
                flags.remove(PageTableFlags::WRITABLE);
                timed(LEAVES, || {
                    for page in x64_pages() {
                        // SAFETY: the table is never loaded.
                        unsafe { x64.update_flags(page, flags) }.expect("mapped").ignore();
                    }
                })
            }),
            Box::new(|| {
                let flags = peers::multiarch_flags(false);
                timed(LEAVES, || {
                    multiarch
                        .cursor()
                        .protect_region((START as usize).into(), BYTES as usize, flags)
                        .expect("mapped");
                })
            }),
            Box::new(|| {
                timed(LEAVES, || {
                    generic.protect_region((START as usize).into(), BYTES as usize, 0x64).expect("mapped")
                })
            }),
            Box::new(|| {
                use aarch64_paging::descriptor::El1Attributes as A;
                let region =
                    aarch64_paging::paging::MemoryRegion::new(START as usize, (START + BYTES) as usize);
                timed(LEAVES, || {
                    aarch64.modify_range(&region, &|_, entry| {
                        if entry.level() == 3 { entry.modify_flags(A::READ_ONLY, A::empty()) } else { Ok(()) }
                    })
                })
            }),
        ],
        rounds,
    );
    peers::free_x64(root, 4);
    ours.destroy(&tlb());
    fresh.destroy(&tlb());
    vec![
        Figure::time(
            "tables: protect 1 GiB, A=D=1, ns beside the best peer",
            ns[0],
            best(&ns[2..]),
            Bound::AtLeast(2.5),
        ),
        Figure::time(
            "tables: protect 1 GiB, A=D=0: a CAS each, ns beside the best peer (loses A, D)",
            ns[1],
            best(&ns[2..]),
            Bound::Recorded,
        ),
    ]
}

pub(super) fn forget(rounds: usize) -> Vec<Figure> {
    let mut words = vec![0_u64; LEAVES as usize];
    let ns = contest(
        vec![
            Box::new(|| {
                let mut table = mapped::<X64>(used());
                let ns = timed(LEAVES, || {
                    let token = table.forget(pages(FIRST, LEAVES)).expect("forgotten");
                    table.finish(token, &tlb()).expect("its own token");
                });
                table.destroy(&tlb());
                ns
            }),
            Box::new(|| {
                store_loop(&mut words);
                timed(LEAVES, || clear_loop(black_box(&mut words)))
            }),
            Box::new(|| {
                let mut table = aarch64_mapped(BYTES, false);
                let none = aarch64_paging::descriptor::El1Attributes::empty();
                timed(LEAVES, || peers::map_aarch64(&mut table, START, MEMORY << 12, BYTES, none, true))
            }),
            Box::new(|| {
                let mut table = generic_mapped(BYTES, false);
                timed(LEAVES, || table.unmap((START as usize).into(), BYTES as usize).expect("mapped"))
            }),
        ],
        rounds,
    );
    vec![
        beside("tables: forget 1 GiB of 4 KiB leaves, ns beside the loop of unmap", ns[0], ns[1], 0.1),
        Figure::time(
            "tables: forget 1 GiB of 4 KiB leaves, ns beside the best peer",
            ns[0],
            best(&ns[2..]),
            Bound::Recorded,
        ),
    ]
}
