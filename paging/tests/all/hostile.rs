//! Random operations on a table that a hostile translation unit walks, between any two stores.

#![expect(unsafe_code, reason = "implements unsafe traits; the unit reads tables as hardware does")]

use core::cell::RefCell;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::rc::Rc;

use hectare_core::{
    AllocError, Frame, FrameRequest, FrameRun, FrameSource, FreeError, Page, PageRun, PageSize,
};
use hectare_core::{Permissions, PhysAddr, PhysWindow};
use hectare_paging::format::{
    AArch64, Ept, Pae, RiscV, Stage2, Sv32, Sv39, Sv57, Toy, X86, X86_64, aarch64, ept, riscv,
};
use hectare_paging::table::{Invalidation, MapOptions, TableWindow, Tlb};
use hectare_paging::{Attributes, Entry, Flush, MemoryType, PageTable, TableFormat, Touched};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::formats::expect;
use crate::walkers::Walked;
use mmu::{GARBAGE, Mmu};

mod mmu;

/// The unit, shared by the window, the source and the invalidations.
struct Unit<F: TableFormat>(Rc<RefCell<Mmu<F>>>);

impl<F: TableFormat> Clone for Unit<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Window<F: TableFormat>(ArenaWindow, Unit<F>);

// SAFETY: the arena's pointers; the unit sets accessed and dirty bits of present entries, nothing else.
unsafe impl<F: TableFormat> TableWindow for Window<F> {
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.0.pointer(address, bytes)
    }

    fn step(&self, place: PhysAddr) {
        self.1.0.borrow_mut().before(place);
    }

    fn broken(&self, what: &Invalidation<'_>) {
        self.1.invalidate(what);
    }
}

// SAFETY: the unit forgets what is named.
unsafe impl<F: TableFormat> Tlb for Unit<F> {
    fn invalidate(&self, what: &Invalidation<'_>) {
        let mut unit = self.0.borrow_mut();
        unit.disturb();
        unit.invalidate(what);
        unit.disturb();
    }
}

struct Source<F: TableFormat>(PlainFrames, Unit<F>);

// SAFETY: as the inner source; it fills what it hands out.
unsafe impl<F: TableFormat> FrameSource for Source<F> {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let run = self.0.allocate_frames(request)?;
        let start = run.first().start(Self::FRAME_SIZE).expect("an address");
        let bytes = run.count() << 12;
        let pointer = self.0.window().pointer(start, bytes).expect("in the arena");
        // SAFETY: the frames were just taken.
        unsafe { pointer.write_bytes(GARBAGE, usize::try_from(bytes).expect("small")) };
        self.1.0.borrow_mut().used.extend(run.iter().map(Frame::number));
        Ok(run)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.1.0.borrow_mut().free(run.first().number()..run.end().number());
        // SAFETY: the caller's promise.
        unsafe { self.0.free_frames(run) }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map { first: u64, count: u64, attributes: usize, largest: bool, touched: bool },
    Unmap { first: u64, count: u64 },
    Forget { first: u64, count: u64 },
    Protect { first: u64, count: u64, attributes: usize },
    Update { first: u64, count: u64, attributes: usize },
    Harvest { first: u64, count: u64, accessed: bool, dirty: bool },
    Remap { first: u64, count: u64, to: u64, aligned: bool },
    Pay,
}

fn attributes<F: TableFormat>(index: usize) -> Attributes {
    let sets = [
        Permissions::READ | Permissions::WRITE | Permissions::USER,
        Permissions::READ,
        Permissions::READ | Permissions::EXECUTE | Permissions::USER,
        Permissions::READ | Permissions::WRITE,
    ];
    let memory = if index / 4 % 2 == 1 { MemoryType::Device } else { MemoryType::WriteBack };
    F::nearest(Attributes::new(sets[index % 4]).with_memory(memory).with_global(index / 8 % 4 == 1))
}

struct World<F: TableFormat> {
    table: PageTable<F, Window<F>, Source<F>>,
    unit: Unit<F>,
    /// Page to frame and attributes.
    model: BTreeMap<u64, (u64, Attributes)>,
    /// What is owed, and what was said meanwhile of frames: unmapped, or cleared, and dirty or not.
    owed: Option<Flush>,
    said: Vec<Said>,
    base: u64,
    generation: u64,
}

struct Said {
    frame: u64,
    dirty: bool,
    /// The page is gone: nothing can be set in its entry any more.
    gone: bool,
}

impl<F: TableFormat + Walked> World<F> {
    fn new(pages: core::ops::Range<u64>, frames: u64, seed: u64) -> Self {
        let plain = PlainFrames::new(0x100, frames);
        let memory = plain.window();
        let base = pages.start;
        let unit = Unit(Rc::new(RefCell::new(Mmu::new(memory.clone(), pages, seed))));
        let source = Source(plain, unit.clone());
        let table = PageTable::new(Window(memory, unit.clone()), source).expect("a root");
        unit.0.borrow_mut().load(table.root());
        Self { table, unit, model: BTreeMap::new(), owed: None, said: vec![], base, generation: 0 }
    }

    /// Pays all that is owed, and looks at everything.
    fn pay(&mut self) {
        self.unit.0.borrow_mut().disturb();
        if let Some(token) = self.owed.take() {
            self.table.finish(token, &self.unit).expect("its own token");
        }
        let mut unit = self.unit.0.borrow_mut();
        for said in core::mem::take(&mut self.said) {
            // Whoever was told looks at the page after the invalidation: writes until then are seen.
            let written = unit.written.contains(&said.frame);
            assert!(said.dirty || !said.gone || !written, "a write to frame {:#x} was lost", said.frame);
            if said.dirty {
                unit.written.remove(&said.frame);
            }
        }
        unit.audit();
        for (page, (frame, _)) in &self.model {
            let lost = unit.written.contains(frame) && !unit.is_dirty(*page);
            assert!(!lost, "a write to page {page:#x}, frame {frame:#x} was lost");
        }
        let frames: Vec<_> = self.model.values().map(|(frame, _)| *frame).collect();
        unit.written.retain(|frame| frames.contains(frame));
        let (first, count) = (unit.pages.start, unit.pages.end - unit.pages.start);
        let probes: Vec<_> =
            (0..48).map(|nth| first + if count <= 48 { nth % count } else { unit.random(count) }).collect();
        drop(unit);
        probes.into_iter().for_each(|page| self.compare(page));
    }

    /// The walker from the manual, the table and the model agree on a page.
    fn compare(&self, page: u64) {
        let address = Page::new(page).start(F::PAGE).expect("an address");
        let unit = self.unit.0.borrow();
        let read = |place, bytes| {
            assert_eq!(bytes as usize, F::Entry::BYTES);
            unit.word(place)
        };
        let hit = F::walk(&read, self.table.root().value(), address.value());
        let found = self.table.find(address);
        let Some((frame, attributes)) = self.model.get(&page) else {
            assert!(hit.is_none() && found.is_none(), "page {page:#x} is not mapped, but {hit:?}");
            return;
        };
        let hit = hit.unwrap_or_else(|| panic!("the walker finds no page {page:#x}"));
        let touched = Touched { accessed: hit.accessed, dirty: hit.dirty };
        expect::<F>(hit, frame << F::PAGE.log2(), hit.bits, *attributes, touched);
        let found = found.map(|found| (found.address.value(), found.attributes()));
        assert_eq!(found, Some((hit.physical, *attributes)), "page {page:#x}");
    }

    fn owe(&mut self, token: Flush) {
        match &mut self.owed {
            Some(owed) => self.table.merge(owed, token).expect("both its own"),
            None => self.owed = Some(token),
        }
        self.unit.0.borrow_mut().disturb();
    }

    fn run(&mut self, op: &Op, later: bool) {
        let span = { self.unit.0.borrow().pages.clone() };
        let place = |first: u64, count: u64| {
            let first = span.start + first % (span.end - span.start);
            let count = (count % (span.end - span.start) + 1).min(span.end - first);
            (first, PageRun::new(Page::new(first), count).expect("a run"))
        };
        match *op {
            Op::Map { first, count, attributes: which, largest, touched } => {
                // What earlier changes owe must be paid before a page is mapped anew.
                self.pay();
                let (first, pages) = place(first, count);
                self.generation += 1;
                let frame = (self.generation << 12) + (first - self.base);
                let frames = FrameRun::new(Frame::new(frame), pages.count()).expect("a run");
                let mut options = MapOptions::DEFAULT;
                options.touched = if touched { Touched::DIRTY } else { Touched::NO };
                if !largest {
                    options.largest = Some(F::PAGE);
                }
                let attributes = attributes::<F>(which);
                if let Ok(fresh) = self.table.map(pages.first(), frames, attributes, options) {
                    self.unit.0.borrow_mut().disturb();
                    fresh.finish(&self.unit);
                    let there = (frame..).map(|frame| (frame, attributes));
                    self.model.extend(pages.iter().map(Page::number).zip(there));
                }
            }
            Op::Unmap { first, count } => {
                let (_, pages) = place(first, count);
                let mut said = vec![];
                let token = self.table.unmap(pages, |run| {
                    let dirty = run.touched().dirty;
                    said.extend(run.frames().iter().map(|frame| Said {
                        frame: frame.number(),
                        dirty,
                        gone: true,
                    }));
                });
                if let Ok(token) = token {
                    self.said.extend(said);
                    self.owe(token);
                    self.model
                        .retain(|page, _| !(pages.first().number()..pages.end().number()).contains(page));
                }
            }
            Op::Forget { first, count } => {
                let (_, pages) = place(first, count);
                if let Ok(token) = self.table.forget(pages) {
                    self.owe(token);
                    self.model
                        .retain(|page, _| !(pages.first().number()..pages.end().number()).contains(page));
                }
            }
            Op::Protect { first, count, attributes: which } => {
                let (_, pages) = place(first, count);
                let permissions = attributes::<F>(which).permissions;
                if let Ok(token) = self.table.protect(pages, permissions) {
                    self.owe(token);
                    for (_, is) in self.model.range_mut(pages.first().number()..pages.end().number()) {
                        is.1 = is.1.with_permissions(permissions);
                    }
                }
            }
            Op::Update { first, count, attributes: which } => {
                let (_, pages) = place(first, count);
                if let Ok(token) = self.table.update(pages, |_| attributes::<F>(which)) {
                    self.owe(token);
                    for (_, is) in self.model.range_mut(pages.first().number()..pages.end().number()) {
                        is.1 = attributes::<F>(which);
                    }
                }
            }
            Op::Harvest { first, count, accessed, dirty } => {
                let (_, pages) = place(first, count);
                let mut said = vec![];
                let token = self.table.harvest(pages, Touched { accessed, dirty }, |run| {
                    let dirty = dirty && run.touched().dirty;
                    said.extend(run.frames().iter().map(|frame| Said {
                        frame: frame.number(),
                        dirty,
                        gone: false,
                    }));
                });
                if let Ok(token) = token {
                    self.said.extend(said);
                    self.owe(token);
                }
            }
            Op::Remap { first, count, to, aligned } => {
                self.pay();
                let (first, _) = place(first, 0);
                let (mut to, _) = place(to, 0);
                if aligned {
                    let mask = (1 << (F::SHIFTS[1] - F::PAGE.log2())) - 1;
                    let like = to & !mask | first & mask;
                    to = if span.contains(&like) { like } else { to };
                }
                let count = (count % (span.end - span.start) + 1).min(span.end - first.max(to));
                let pages = PageRun::new(Page::new(first), count).expect("a run");
                if let Ok(token) = self.table.remap(pages, Page::new(to)) {
                    self.owe(token);
                    let moved: Vec<_> =
                        self.model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
                    self.model.retain(|page, _| !(first..first + count).contains(page));
                    self.model.extend(moved.into_iter().map(|(page, is)| (page - first + to, is)));
                }
            }
            Op::Pay => self.pay(),
        }
        if !later {
            self.pay();
        }
    }
}

fn op() -> impl Strategy<Value = (Op, bool)> {
    let at = || {
        let length = prop_oneof![0..3_u64, 0..20_u64, Just(511), Just(1023), any::<u64>()];
        (prop_oneof![0..64_u64, Just(512), any::<u64>()], length)
    };
    let op = prop_oneof![
        4 => (at(), 0..32_usize, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |((first, count), attributes, largest, touched, whole)| Op::Map {
                first: if whole { first & !511 } else { first },
                count, attributes, largest, touched,
            }
        ),
        3 => at().prop_map(|(first, count)| Op::Unmap { first, count }),
        1 => at().prop_map(|(first, count)| Op::Forget { first, count }),
        3 => (at(), 0..4_usize).prop_map(|((first, count), attributes)| Op::Protect { first, count, attributes }),
        1 => (at(), 0..32_usize).prop_map(|((first, count), attributes)| Op::Update { first, count, attributes }),
        2 => (at(), any::<bool>(), any::<bool>())
            .prop_map(|((first, count), accessed, dirty)| Op::Harvest { first, count, accessed, dirty }),
        1 => (at(), any::<u64>(), any::<bool>())
            .prop_map(|((first, count), to, aligned)| Op::Remap { first, count, to, aligned }),
        1 => Just(Op::Pay),
    ];
    (op, any::<bool>())
}

fn survive<F: TableFormat + Walked>(
    pages: core::ops::Range<u64>,
    frames: u64,
    seed: u64,
    ops: &[(Op, bool)],
) {
    let mut world = World::<F>::new(pages, frames, seed);
    for (op, later) in ops {
        world.run(op, *later);
    }
    world.pay();
    let World { table, unit, .. } = world;
    unit.0.borrow_mut().unload();
    let source = table.destroy(&unit);
    assert_eq!(source.0.free(), frames, "all frames came back");
}

fn hostile(survive: fn(u64, &[(Op, bool)])) {
    hostile_from(RngSeed::Fixed(7), survive);
}

fn hostile_from(rng_seed: RngSeed, survive: fn(u64, &[(Op, bool)])) {
    let config = ProptestConfig { failure_persistence: None, rng_seed, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let ops = proptest::collection::vec(op(), 1..16);
    let result = runner.run(&(any::<u64>(), ops), |(seed, ops)| {
        survive(seed, &ops);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

macro_rules! formats {
    ($($name:ident: $format:ty, $pages:expr, $frames:expr;)*) => {$(
        #[test]
        fn $name() {
            hostile(|seed, ops| survive::<$format>($pages, $frames, seed, ops));
        }
    )*};
}
const MANAGED: u8 = aarch64::HARDWARE_DIRTY;
const EXTENSIONS: u8 = riscv::SVPBMT | riscv::SVNAPOT | riscv::SVADU;
formats! {
    toy: Toy<2, 2, 0>, 0..16, 24;
    toy_of_three_levels: Toy<3, 2, 1>, 0..64, 64;
    x86: X86, 0x3FC00..0x40400, 48;
    x86_pse36: X86<true>, 0x3FC00..0x40400, 48;
    x86_pae: Pae, 0x3FE00..0x40200, 48;
    x86_64: X86_64<4>, 0x3_FE00..0x4_0200, 48;
    x86_64_five_levels: X86_64<5>, 0xF_FFFF_FFFF_FE00..0x10_0000_0000_0000, 48;
    sv32_svadu: Sv32<{ riscv::SVADU }>, 0x3FC00..0x40400, 48;
    sv39_svade: Sv39, 0x3_FE00..0x4_0200, 48;
    sv39_with_extensions: RiscV<3, EXTENSIONS>, 0x3_FE00..0x4_0200, 48;
    sv57: Sv57, 0x3_FE00..0x4_0200, 48;
    ept_accessed_dirty: Ept<4, { ept::ACCESSED_DIRTY }>, 0x3_FE00..0x4_0200, 48;
    aarch64_4k: AArch64<12, 39, MANAGED>, 0x3_FE00..0x4_0200, 48;
    aarch64_16k_without_hardware: AArch64<14>, 0x3F_FF80..0x40_0080, 160;
    aarch64_16k_managed: AArch64<14, 47, MANAGED>, 0x3F_FF80..0x40_0080, 160;
    aarch64_lpa2: AArch64<12, 52, { aarch64::LPA2 | MANAGED }>, 0x3_FE00..0x4_0200, 48;
    aarch64_upper: AArch64<12, 48, { aarch64::UPPER }>, 0xF_FFFF_FFFF_FE00..0x10_0000_0000_0000, 48;
    aarch64_64k: AArch64<16, 42, MANAGED>, 0x1FC0..0x2040, 160;
    stage2: Stage2<12, 40, MANAGED>, 0x3_FE00..0x4_0200, 64;
}

/// Of some ten thousand random sequences with granules of 64 KiB one ends with a write whose dirty bit is nowhere. Whether
/// the table loses it or the model counts it twice is not known yet: run it with `PROPTEST_CASES=40000`.
#[test]
#[ignore = "an open question: fails about once in ten thousand sequences"]
fn aarch64_64k_at_random() {
    hostile_from(RngSeed::Random, |seed, ops| {
        survive::<AArch64<16, 42, MANAGED>>(0x1FC0..0x2040, 160, seed, ops);
    });
}

/// A right to write is taken, nothing is paid yet, and the page goes: a write through the stale right must be told.
#[test]
fn a_write_through_a_stale_right_is_told() {
    let (first, count) = (0, 15);
    let map = Op::Map { first, count, attributes: 0, largest: false, touched: false };
    let protect = Op::Protect { first, count, attributes: 1 };
    for last in [Op::Unmap { first, count }, Op::Protect { first, count, attributes: 2 }] {
        let ops = [(map.clone(), false), (protect.clone(), true), (last, false)];
        for seed in 1..200 {
            survive::<Toy<2, 2, 0>>(0..16, 24, seed << 20, &ops);
        }
    }
}

/// A table moved, and goes from its new place before its old addresses are invalidated: caches may still lead to it from
/// there.
#[test]
fn a_table_that_moved_is_freed_only_when_its_old_place_is_forgotten() {
    for seed in 1..200 {
        let mut world = World::<Toy<3, 2, 0>>::new(0..64, 64, seed << 20);
        let map = Op::Map { first: 0, count: 15, attributes: 0, largest: false, touched: false };
        world.run(&map, false);
        let pages = |first| PageRun::new(Page::new(first), 16).expect("a run");
        let moved = world.table.remap(pages(0), Page::new(32)).expect("room");
        world.unit.0.borrow_mut().disturb();
        let gone = world.table.forget(pages(32)).expect("no table is needed");
        world.table.finish(gone, &world.unit).expect("its own token");
        world.table.finish(moved, &world.unit).expect("its own token");
        world.model.clear();
        world.pay();
    }
}
