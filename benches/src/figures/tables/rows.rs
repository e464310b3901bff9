//! The figures, one function each.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

use core::hint::black_box;

use hectare_core::{Page, Permissions, VirtAddr};
use hectare_paging::format::{AArch64, Ept, Pae, Stage2, Sv32, Sv39, Sv48, Sv57, X86, X86_64, aarch64};
use hectare_paging::table::{Hit, MapOptions};
use hectare_paging::{TableFormat, Touched};
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{
    Mapper, Page as X64Page, PageTableFlags, PhysFrame, Size2MiB, Size4KiB, Translate,
};

use super::peers::{self, Generic, Multiarch, X64Frames};
use super::{
    FIRST, LEAVES, MEMORY, Ours, Pass, X64, address, beside, best, contest, empty, frames, mapped, pages,
};
use super::{timed, tlb, used, user};
use crate::figures::{Bound, Figure, Random};

const START: u64 = FIRST << 12;
const BYTES: u64 = LEAVES << 12;
const PRESENT: u64 = 0x8000_0000_0000_0067;

/// All figures of the area.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut figures = map(rounds);
    figures.extend(unmap(rounds));
    figures.extend(protect(rounds));
    figures.extend(forget(rounds));
    figures.extend(huge(rounds));
    figures.extend(find(rounds));
    figures.extend(find_many(rounds));
    figures.extend(single(rounds));
    figures.extend(sparse(rounds));
    figures.extend(fork(rounds));
    figures.extend(formats(rounds));
    figures
}

fn x64_flags() -> PageTableFlags {
    PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::USER_ACCESSIBLE
        | PageTableFlags::NO_EXECUTE
}

fn x64_pages() -> PageRange<Size4KiB> {
    let page = |address| X64Page::containing_address(x86_64::VirtAddr::new(address));
    PageRange { start: page(START), end: page(START + BYTES) }
}

fn generic_config(at: u64, memory: u64, bytes: u64, huge: bool) -> page_table_generic::MapConfig<u64> {
    page_table_generic::MapConfig {
        vaddr: (at as usize).into(),
        paddr: (memory as usize).into(),
        size: bytes as usize,
        pte: 0x66,
        allow_huge: huge,
        flush: false,
    }
}

fn multiarch_mapped(bytes: u64, huge: bool) -> Multiarch {
    let mut table = Multiarch::try_new().expect("a root");
    map_multiarch(&mut table, bytes, huge);
    table
}

fn map_multiarch(table: &mut Multiarch, bytes: u64, huge: bool) {
    let place = |at: memory_addr::VirtAddr| (at.as_usize() - START as usize + (MEMORY << 12) as usize).into();
    let flags = peers::multiarch_flags(true);
    table.cursor().map_region((START as usize).into(), place, bytes as usize, flags, huge).expect("mapped");
}

fn map_x64(table: &mut x86_64::structures::paging::OffsetPageTable<'_>) {
    for (nth, page) in x64_pages().enumerate() {
        let frame = PhysFrame::containing_address(x86_64::PhysAddr::new((MEMORY + nth as u64) << 12));
        // SAFETY: the table is never loaded.
        let flush = unsafe { table.map_to(page, frame, x64_flags(), &mut X64Frames) };
        flush.expect("mapped").ignore();
    }
}

fn generic_mapped(bytes: u64, huge: bool) -> Generic {
    let mut table = Generic::new(peers::GenericFrames).expect("a root");
    table.map(&generic_config(START, MEMORY << 12, bytes, huge)).expect("mapped");
    table
}

fn aarch64_mapped(bytes: u64, huge: bool) -> peers::Aarch64 {
    let mut table = peers::aarch64();
    peers::map_aarch64(&mut table, START, MEMORY << 12, bytes, peers::aarch64_flags(true), huge);
    table
}

/// The loop that stores the same entries.
fn store_loop(words: &mut [u64]) {
    let mut entry = MEMORY << 12 | PRESENT;
    for word in words {
        *word = entry;
        entry += 4096;
    }
}

fn map(rounds: usize) -> Vec<Figure> {
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

fn unmap(rounds: usize) -> Vec<Figure> {
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

fn protect(rounds: usize) -> Vec<Figure> {
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

fn forget(rounds: usize) -> Vec<Figure> {
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

fn huge(rounds: usize) -> Vec<Figure> {
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

/// Random addresses in the first `count` pages of the common range.
fn addresses(count: u64, seed: u64) -> Vec<VirtAddr> {
    let mut random = Random::new(seed);
    (0..1 << 16).map(|_| address(FIRST + random.range(0, count as usize) as u64)).collect()
}

fn find(rounds: usize) -> Vec<Figure> {
    let table = mapped::<X64>(MapOptions::BASE_PAGES);
    let (mut x64, root) = peers::x64();
    map_x64(&mut x64);
    let multiarch = multiarch_mapped(BYTES, false);
    let generic = generic_mapped(BYTES, false);
    let addresses = addresses(LEAVES, 3);
    let units = addresses.len() as u64;
    let sum =
        |find: &dyn Fn(VirtAddr) -> u64| addresses.iter().map(|at| find(*at)).fold(0, u64::wrapping_add);
    let _ = sum;
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

fn find_many(rounds: usize) -> Vec<Figure> {
    const PAGES: u64 = 1 << 24;
    let mut table = empty::<X64>();
    table
        .map(Page::new(FIRST), frames(MEMORY, PAGES), user(), MapOptions::BASE_PAGES)
        .expect("mapped")
        .finish(&tlb());
    let addresses = addresses(PAGES, 5);
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

/// Odd pages are mapped; the even ones are, one by one, in random order.
fn single(rounds: usize) -> Vec<Figure> {
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
fn sparse(rounds: usize) -> Vec<Figure> {
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

/// A fork: every leaf into a second table, the right to write taken from both, beside the loop that copies the entries
/// and counts a reference to each frame.
fn fork(rounds: usize) -> Vec<Figure> {
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

/// Map, as in the first figure, in this format.
fn ours_map<F: TableFormat>() -> f64 {
    let mut table = empty::<F>();
    let options = MapOptions { largest: Some(F::PAGE), contiguous: false, touched: Touched::DIRTY };
    let attributes = F::nearest(user());
    // 1 GiB where the format reaches as far, from the bottom of what it reaches.
    let reach = F::SHIFTS[F::LEVELS].min(48) - F::PAGE.log2() - 1;
    let count = LEAVES.min(1 << reach).min(1 << (30 - F::PAGE.log2().min(16)));
    let start = F::delinear(0).value() >> F::PAGE.log2();
    let memory = frames(0x1000, count);
    let ns = timed(count, || {
        table.map(Page::new(start), memory, attributes, options).expect("mapped").finish(&tlb())
    });
    table.destroy(&tlb());
    ns
}

fn formats(rounds: usize) -> Vec<Figure> {
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
