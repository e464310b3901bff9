//! Address spaces on several CPUs at once: a parent and its children write to what they share, and end, in real threads.

use core::sync::atomic::{AtomicU32, Ordering};

use hectare_core::{
    Access, CheckInvariants, Frame, Locked, Page, PageRun, Permissions, PhysAddr, PhysWindow, SpinLock,
    VirtAddr,
};
use hectare_paging::format::X86_64;
use hectare_paging::space::index::Node;
use hectare_paging::space::{
    AddressSpace, HugePages, Kernel, MapRequest, NoPager, Place, RefTable, Settings,
};
use hectare_paging::table::{Invalidation, Tlb};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use crate::machine::access;

type F = X86_64<4>;
const FRAMES: u64 = 256;
const FIRST: u64 = 64;
const PAGES: u64 = 24;

/// The CPUs of the test cache nothing.
struct Cacheless;

// SAFETY: nothing is cached.
unsafe impl Tlb for Cacheless {
    fn invalidate(&self, _what: &Invalidation<'_>) {}
}

/// What all CPUs share.
struct Shared {
    frames: Locked<SpinLock, PlainFrames<12>>,
    window: ArenaWindow,
    counts: Vec<AtomicU32>,
}

impl Shared {
    fn new() -> Self {
        let source = PlainFrames::<12>::new(FIRST, FRAMES);
        let window = source.window();
        let counts = (0..FRAMES).map(|_| AtomicU32::new(0)).collect();
        Self { frames: Locked::new(source), window, counts }
    }
}

#[derive(Clone, Copy)]
struct Cpu<'m>(&'m Shared, RefTable<'m>);

/// The window, shared.
#[derive(Clone, Copy)]
struct View<'m>(&'m ArenaWindow);

// SAFETY: the inner window's promises.
unsafe impl PhysWindow for View<'_> {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<core::ptr::NonNull<u8>> {
        self.0.pointer(address, length)
    }
}

impl<'m> Kernel for Cpu<'m> {
    type Frames = &'m Locked<SpinLock, PlainFrames<12>>;
    type Window = View<'m>;
    type Nodes = [Node; 8];
    type Refs = RefTable<'m>;
    type Pager = NoPager;
    type Tlb = Cacheless;

    fn frames(&self) -> Self::Frames {
        &self.0.frames
    }

    fn window(&self) -> View<'m> {
        View(&self.0.window)
    }

    fn nodes(&self) -> [Node; 8] {
        [Node::EMPTY; 8]
    }

    fn refs(&self) -> &RefTable<'m> {
        &self.1
    }

    fn pager(&self) -> &NoPager {
        &NoPager
    }

    fn tlb(&self) -> &Cacheless {
        &Cacheless
    }
}

type Space<'m> = AddressSpace<F, Cpu<'m>>;

/// Writes to a page after it was read: what was there.
fn exchange(space: &mut Space<'_>, page: u64, value: u64) -> u64 {
    let address = VirtAddr::new((0x40 + page) << 12);
    let mut word = |kind| {
        let (place, _) = access(space, address, kind).unwrap();
        space.table().window().pointer(place, 8).unwrap().cast::<u64>()
    };
    let before = word(Access::user_read());
    // SAFETY: a page of this space; whoever shares its frame does not write to it.
    let before = unsafe { before.read() };
    let place = word(Access::user_write());
    // SAFETY: the page may be written to, so its frame is this space's alone.
    unsafe { place.write(value) };
    before
}

/// A space whose pages were zero, and now hold their numbers and one more.
fn parent(cpu: Cpu<'_>) -> Space<'_> {
    let pages = PageRun::new(Page::new(16), 1 << 20).unwrap();
    let settings = Settings { huge: HugePages::Never, ..Settings::new(pages) };
    let mut parent = Space::new(cpu, settings).unwrap();
    let request = MapRequest::anonymous(PAGES.try_into().unwrap(), Permissions::READ | Permissions::WRITE);
    parent.map(request.at(Place::Fixed(Page::new(0x40)))).unwrap();
    (0..PAGES).for_each(|page| assert_eq!(exchange(&mut parent, page, 1 + page), 0));
    parent
}

#[test]
fn a_parent_and_two_children_write_at_once_and_end() {
    let shared = Shared::new();
    let cpu = Cpu(&shared, RefTable::new(Frame::new(FIRST), &shared.counts));
    for round in 0..if cfg!(miri) { 2 } else { 300 } {
        let mut parent = parent(cpu);
        let children = [parent.fork().unwrap(), parent.fork().unwrap()];
        std::thread::scope(|scope| {
            for (nth, mut child) in (1_u64..).zip(children) {
                scope.spawn(move || {
                    for page in 0..PAGES {
                        let page = (page * 5 + nth * round) % PAGES;
                        assert_eq!(exchange(&mut child, page, nth << 32 | page), 1 + page);
                    }
                    // It forks once more while the others take pages over, and ends before its child.
                    let mut last = child.fork().unwrap();
                    child.destroy();
                    for page in 0..PAGES {
                        assert_eq!(exchange(&mut last, page, 0), nth << 32 | page);
                    }
                    last.check_invariants().unwrap();
                    last.destroy();
                });
            }
            for page in 0..PAGES {
                assert_eq!(exchange(&mut parent, page, 100 + page), 1 + page);
            }
        });
        for page in 0..PAGES {
            assert_eq!(exchange(&mut parent, page, 0), 100 + page);
        }
        parent.check_invariants().unwrap();
        parent.destroy();
        let free = shared.frames.with(|frames| frames.free()).unwrap();
        assert_eq!(
            (free, shared.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u32>()),
            (FRAMES, 0)
        );
    }
}

#[test]
fn two_cpus_fault_on_one_page_of_one_space_behind_its_lock() {
    let shared = Shared::new();
    let cpu = Cpu(&shared, RefTable::new(Frame::new(FIRST), &shared.counts));
    let mut parent = parent(cpu);
    let child = parent.fork().unwrap();
    let locked = Locked::<SpinLock, _>::new(parent);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for page in 0..PAGES {
                    let address = VirtAddr::new((0x40 + page) << 12);
                    locked.with(|space| space.handle_fault(address, Access::user_write()).unwrap()).unwrap();
                }
            });
        }
        // Meanwhile the other user of the frames ends.
        child.destroy();
    });
    locked
        .with(|space| {
            let counts = space.counts();
            assert_eq!(counts.copied + counts.reused, PAGES, "each page once");
            (0..PAGES).for_each(|page| assert_eq!(exchange(space, page, 0), 1 + page));
            space.check_invariants().unwrap();
            space.clear();
        })
        .unwrap();
    let users: u32 = shared.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    assert_eq!(users, 0);
}
