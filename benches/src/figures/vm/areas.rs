//! Ten thousand areas beside `memory_set`, and lookups beside a `BTreeMap`.

use core::hint::black_box;
use core::num::NonZero;
use std::collections::BTreeMap;

use hectare_core::{Order, Page, PageRun, Permissions};
use hectare_paging::space::index::{AreaIndex, Direction, GapRequest, Node};
use hectare_paging::space::{AddressSpace, Area, MapRequest, Place, Settings};
use memory_addr::{VirtAddr, VirtAddrRange};
use memory_set::{MappingBackend, MemoryArea, MemorySet};

use crate::clock::thread_ns;
use crate::figures::{Bound, Figure, Random};
use crate::rounds::{interleave, median};
use crate::vm::{Memory, with_machine};

/// Areas.
const AREAS: u64 = 10_000;
/// Operations of one timed pass.
const OPERATIONS: usize = 20_000;
/// Those of the peer, which takes much longer.
const FEW: usize = 400;

/// A peer's page table that does nothing: only its areas are measured.
#[derive(Clone)]
struct Nothing;

impl MappingBackend for Nothing {
    type Addr = VirtAddr;
    type Flags = u8;
    type PageTable = ();

    fn map(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
        true
    }

    fn unmap(&self, _: VirtAddr, _: usize, (): &mut ()) -> bool {
        true
    }

    fn protect(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
        true
    }
}

/// The first page of area `nth`: three pages each, a hole of one between two. The rights of neighbours differ.
fn first(nth: u64) -> u64 {
    0x1000 + nth * 4
}

fn rights(nth: u64) -> Permissions {
    let write = if nth.is_multiple_of(2) { Permissions::WRITE } else { Permissions::empty() };
    Permissions::READ | Permissions::USER | write
}

fn area(nth: u64) -> Area {
    Area::new(PageRun::new(Page::new(first(nth)), 3).expect("pages"), rights(nth))
}

/// A hole of two pages, which nothing but the space above all areas has.
fn request() -> GapRequest {
    GapRequest {
        count: NonZero::new(2).expect("not 0"),
        align: Order::ZERO,
        window: PageRun::new(Page::new(0x1000), 1 << 30).expect("pages"),
        direction: Direction::BottomUp,
    }
}

/// The figures.
///
/// # Panics
/// There is no memory.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut store = vec![Node::EMPTY; 4096];
    let mut index = AreaIndex::new(&mut store[..]);
    let mut tree = BTreeMap::new();
    let mut peer = MemorySet::<Nothing>::new();
    // In no particular order, as programs map and unmap.
    for nth in (0..AREAS).map(|nth| nth * 7_919 % AREAS) {
        index.insert(area(nth)).expect("room");
        tree.insert(first(nth), area(nth));
        let start = VirtAddr::from(first(nth) as usize * 4096);
        peer.map(MemoryArea::new(start, 3 * 4096, 0, Nothing), &mut (), false).expect("free");
    }
    let mut random = Random::new(11);
    let pages: Vec<Page> =
        (0..OPERATIONS).map(|_| Page::new(first(random.range(0, AREAS as usize) as u64) + 1)).collect();
    let mut passes: [&mut dyn FnMut() -> usize; 2] = [
        &mut || {
            pages.iter().for_each(|page| {
                black_box(index.find(*page));
            });
            pages.len()
        },
        &mut || {
            for page in &pages {
                let below = tree.range(..=page.number()).next_back();
                black_box(below.filter(|(_, area)| area.contains(*page)).map(|(_, area)| *area));
            }
            pages.len()
        },
    ];
    let [find, btree] = times(&mut passes, rounds);
    let mut figures = vec![Figure {
        timed: true,
        ..Figure::beside("vm, 10000 areas: lookup, ns, BTreeMap", find, btree, Bound::AtMost(1.2))
    }];
    let limit = VirtAddrRange::from_start_size(VirtAddr::from(0x1000 * 4096_usize), 1 << 42);
    let mut passes: [&mut dyn FnMut() -> usize; 2] = [
        &mut || {
            (0..OPERATIONS).for_each(|_| {
                black_box(index.gap(black_box(&request())));
            });
            OPERATIONS
        },
        &mut || {
            (0..FEW).for_each(|_| {
                black_box(peer.find_free_area(limit.start, 2 * 4096, black_box(limit), 4096));
            });
            FEW
        },
    ];
    let [ours, theirs] = times(&mut passes, rounds);
    figures.push(Figure::time(
        "vm, 10000 areas: gap search, ns, memory_set",
        ours,
        theirs,
        Bound::AtLeast(5.0),
    ));
    let mut memory = Memory::new(1 << 12).expect("memory");
    let [ours, theirs] = with_machine(&mut memory, |machine| {
        let window = PageRun::new(Page::new(16), 1 << 34).expect("pages");
        let mut space =
            AddressSpace::<crate::vm::F, _>::new(machine.kernel(), Settings::new(window)).expect("room");
        let three = NonZero::new(3).expect("not 0");
        let map = |nth| MapRequest::anonymous(three, rights(nth)).at(Place::Fixed(Page::new(first(nth))));
        for nth in 0..AREAS {
            space.map(map(nth)).expect("room");
        }
        let mut passes: [&mut dyn FnMut() -> usize; 2] = [
            &mut || {
                for page in &pages[..FEW * 10] {
                    let nth = (page.number() - first(0)) / 4;
                    space.unmap(Page::new(first(nth)), 3).expect("mapped");
                    space.map(map(nth)).expect("free");
                }
                FEW * 10
            },
            &mut || {
                for page in &pages[..FEW] {
                    let start = VirtAddr::from((page.number() - 1) as usize * 4096);
                    peer.unmap(start, 3 * 4096, &mut ()).expect("mapped");
                    peer.map(MemoryArea::new(start, 3 * 4096, 0, Nothing), &mut (), false).expect("free");
                }
                FEW
            },
        ];
        let ns = times(&mut passes, rounds);
        space.destroy();
        ns
    });
    figures.push(Figure::time(
        "vm, 10000 areas: munmap and mmap of one, ns, memory_set without tables",
        ours,
        theirs,
        Bound::AtLeast(5.0),
    ));
    figures
}

/// Nanoseconds for each operation of two contestants.
pub(super) fn times(passes: &mut [&mut dyn FnMut() -> usize; 2], rounds: usize) -> [f64; 2] {
    let times = interleave(
        2,
        rounds,
        |_| true,
        |_, who| {
            let start = thread_ns();
            let operations = passes[who]();
            (thread_ns() - start) as f64 / operations as f64
        },
    );
    [0, 1].map(|who| median(&times[who]).unwrap_or(f64::NAN))
}
