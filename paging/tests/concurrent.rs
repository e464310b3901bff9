//! Transactions: against a map of pages in one thread, and many threads on one table.
//!
//! `HECTARE_STRESS` is the number of transactions of each thread, 2000 by default.
#![expect(unsafe_code, reason = "makes lock words; fills freed frames")]
#![expect(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::collections::BTreeMap;

use hectare_core::{
    AllocError, CheckInvariants, Frame, FrameRequest, FrameRun, FrameSource, FreeError, Locked, NoCpu, Page,
    PageSize, Permissions, PhysAddr, PhysWindow, SpinLock, VirtAddr,
};
use hectare_paging::format::{AArch64, Pae, RiscV, Sv39, Toy, X86_64, riscv};
use hectare_paging::table::{MapOptions, Readers, SharedTable, Stripe, TableError, TableWords};
use hectare_paging::{Attributes, PageTable, TableFormat, Touched};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames, ThreadSlots};
use proptest::prelude::*;

use world::{Is, expand, frames, pages, tlb};

#[path = "all/tables/world.rs"]
#[allow(dead_code, reason = "the tests of tables use the rest")]
mod world;

/// Frames that are full of leaves to nowhere as soon as they are free.
struct Poisoned(PlainFrames);

// SAFETY: the inner source; what is free is nobody's.
unsafe impl FrameSource for Poisoned {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.0.allocate_frames(request)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let start = run.first().start(Self::FRAME_SIZE).expect("an address");
        let bytes = run.count() << 12;
        let pointer = self.0.window().pointer(start, bytes).expect("in the arena");
        // SAFETY: the frames are given back.
        unsafe { pointer.write_bytes(0xE7, usize::try_from(bytes).expect("small")) };
        // SAFETY: the caller's promise.
        unsafe { self.0.free_frames(run) }
    }
}

type Source = Locked<SpinLock, Poisoned>;
type Table<'s, F> = SharedTable<'s, F, ArenaWindow, Source, TableWords<'s>, Readers<'s, NoCpu>>;

const FIRST: u64 = 0x100;

fn source(count: u64) -> (ArenaWindow, Source) {
    let plain = PlainFrames::new(FIRST, count);
    (plain.window(), Locked::new(Poisoned(plain)))
}

fn words(count: u64, memory: &mut Vec<AtomicU32>) -> TableWords<'_> {
    memory.resize_with(usize::try_from(count).expect("small"), || AtomicU32::new(0xDEAD));
    // SAFETY: one source.
    unsafe { TableWords::new(PhysAddr::new(FIRST << 12), PageSize::SIZE_4K, memory) }
}

fn free(source: &Source) -> u64 {
    source.with(|source| source.0.free()).expect("not nested")
}

/// Runs a body with a table that is shared over so many frames, and looks at what it leaves.
fn with_table<F: TableFormat>(count: u64, body: impl FnOnce(&Table<'_, F>, &Source)) {
    let (window, source) = source(count);
    let mut memory = vec![];
    let words = words(count, &mut memory);
    let table = PageTable::new(window, &source).expect("a root");
    let shared = SharedTable::new(table, words, Readers::new(&[], NoCpu)).unwrap_or_else(|_| panic!("words"));
    body(&shared, &source);
    let (mut table, token) = shared.into_table();
    table.finish(token, &tlb()).expect("its own token");
    table.check_invariants().expect("invariants");
    let _ = table.destroy(&tlb());
    assert_eq!(free(&source), count, "all frames came back");
}

#[derive(Clone, Debug)]
enum Op {
    Map { first: u64, count: u64, frame: u64, rights: usize, large: bool },
    Unmap { first: u64, count: u64 },
    Protect { first: u64, count: u64, rights: usize },
    Harvest { first: u64, count: u64 },
}

fn rights(index: usize) -> Permissions {
    let user = Permissions::READ | Permissions::USER;
    [user | Permissions::WRITE, user, user | Permissions::EXECUTE][index % 3]
}

fn ops() -> impl Strategy<Value = Vec<(Op, u64, u64)>> {
    let at = || (any::<u64>(), prop_oneof![0..3_u64, 0..600_u64, Just(511), any::<u64>()]);
    let op = prop_oneof![
        3 => (at(), 0..4000_u64, 0..3_usize, any::<bool>()).prop_map(|((first, count), frame, rights, large)| Op::Map {
            first: if large { first & !511 } else { first }, count, frame, rights, large,
        }),
        2 => at().prop_map(|(first, count)| Op::Unmap { first, count }),
        2 => (at(), 0..3_usize).prop_map(|((first, count), rights)| Op::Protect { first, count, rights }),
        1 => at().prop_map(|(first, count)| Op::Harvest { first, count }),
    ];
    // How much wider the transaction is than the operation, on either side.
    let wider = || prop_oneof![3 => Just(0_u64), 1 => 0..3_u64, 1 => 0..600_u64, 1 => Just(u64::MAX)];
    proptest::collection::vec((op, wider(), wider()), 1..24)
}

/// Each operation in a transaction of its own; afterwards the table says what the model says.
fn follow<F: TableFormat>(span: core::ops::Range<u64>, count: u64, ops: &[(Op, u64, u64)]) {
    let attributes = |index| F::nearest(Attributes::new(rights(index)));
    with_table::<F>(count, |shared, source| {
        let mut model = BTreeMap::<u64, Is>::new();
        for (op, before, behind) in ops {
            let (Op::Map { first, count, .. }
            | Op::Unmap { first, count }
            | Op::Protect { first, count, .. }
            | Op::Harvest { first, count }) = *op;
            let first = span.start + first % (span.end - span.start);
            let count = (count % (span.end - span.start) + 1).min(span.end - first);
            let from = first.saturating_sub(*before).max(span.start);
            let to = (first + count).saturating_add(*behind).min(span.end);
            let mut transaction = shared.transaction(pages(from, to - from)).expect("in reach");
            assert_eq!(transaction.pages(), pages(from, to - from));
            let outside = transaction.unmap(pages(from, to - from + 1), |_| {});
            assert!(matches!(outside, Err(TableError::Range { .. })), "one page too many: {outside:?}");
            let mut seen = vec![];
            let report = |seen: &mut Vec<(u64, Is)>, run: hectare_paging::Mapping<F>| expand(&run, seen);
            let frames_before = free(source);
            let result = match *op {
                Op::Map { frame, rights, large, .. } => {
                    let frame = if large { frame / 512 * 512 + first % 512 } else { frame };
                    let options = MapOptions { largest: (!large).then_some(F::PAGE), ..MapOptions::DEFAULT };
                    transaction.map(Page::new(first), frames(frame, count), attributes(rights), options).map(
                        |()| {
                            for nth in 0..count {
                                let is = Is {
                                    frame: frame + nth,
                                    attributes: attributes(rights),
                                    touched: Touched::NO,
                                };
                                assert_eq!(model.insert(first + nth, is), None);
                            }
                        },
                    )
                }
                Op::Unmap { .. } => {
                    transaction.unmap(pages(first, count), |run| report(&mut seen, run)).map(|()| {
                        let there: Vec<_> =
                            model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
                        assert_eq!(seen, there);
                        model.retain(|page, _| !(first..first + count).contains(page));
                    })
                }
                Op::Protect { rights, .. } => {
                    let permissions = attributes(rights).permissions;
                    transaction.protect(pages(first, count), permissions).map(|()| {
                        for (_, is) in model.range_mut(first..first + count) {
                            is.attributes.permissions = permissions;
                        }
                    })
                }
                Op::Harvest { .. } => {
                    let clear = Touched { accessed: true, dirty: true };
                    transaction.harvest(pages(first, count), clear, |run| report(&mut seen, run)).map(|()| {
                        let there: Vec<_> =
                            model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
                        assert_eq!(seen, there);
                    })
                }
            };
            if result.is_err() {
                assert_eq!(free(source), frames_before, "a refused call keeps frames: {result:?}");
            }
            // Seen from inside, and after the commit without a lock.
            let mut inside = vec![];
            transaction
                .runs(pages(from, to - from))
                .expect("its own")
                .for_each(|run| expand(&run, &mut inside));
            inside.retain(|(page, _)| (from..to).contains(page));
            let there: Vec<_> = model.range(from..to).map(|(page, is)| (*page, *is)).collect();
            assert_eq!(inside, there, "after {op:?}: {result:?}");
            shared.finish(transaction.commit(), &tlb()).expect("its own token");
            for page in [from, first, first + count - 1, to - 1] {
                let hit = shared.find(Page::new(page).start(F::PAGE).expect("an address"));
                let frame = hit.map(|hit| hit.address.value() >> F::PAGE.log2());
                assert_eq!(frame, model.get(&page).map(|is| is.frame), "page {page:#x}");
            }
        }
    });
}

macro_rules! formats {
    ($($name:ident: $format:ty, $window:expr, $frames:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $name(ops in ops()) {
                follow::<$format>($window, $frames, &ops);
            }
        }
    )*};
}
formats! {
    toy: Toy<3, 2, 1>, 0..64, 16;
    x86_64: X86_64<4>, 0x3_FC00..0x4_0400, 9;
    pae: Pae, 0xBFC00..0xC0400, 6;
    sv39: Sv39, 0x3_FC00..0x4_0400, 7;
    sv39_svnapot: RiscV<3, { riscv::SVNAPOT | riscv::SVADU }>, 0x3_FC00..0x4_0400, 7;
    aarch64: AArch64<12>, 0x3_FC00..0x4_0400, 9;
}

fn user() -> Attributes {
    Attributes::new(rights(0))
}

#[test]
fn ranges_under_different_tables_are_open_at_once() {
    with_table::<X86_64<4>>(16, |shared, _| {
        for first in [0, 512] {
            let mut transaction = shared.transaction(pages(first, 1)).unwrap();
            transaction.map(Page::new(first), frames(7, 1), user(), MapOptions::DEFAULT).unwrap();
            shared.finish(transaction.commit(), &tlb()).unwrap();
        }
        let one = shared.try_transaction(pages(0, 512)).unwrap().expect("free");
        let two = shared.try_transaction(pages(512, 512)).unwrap().expect("free");
        assert!(shared.try_transaction(pages(3, 1)).unwrap().is_none(), "the first table is locked");
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_none(), "both are");
        let far = shared.try_transaction(pages(1 << 30, 1)).unwrap().expect("the root is free");
        drop(far);
        // A wide one that met a locked table left nothing locked.
        drop(two);
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_none(), "the first one is still locked");
        let two = shared.try_transaction(pages(512, 512)).unwrap().expect("free");
        drop((one, two));
        assert!(shared.try_transaction(pages(0, 1024)).unwrap().is_some());
    });
}

#[test]
fn asterinas_3731_a_range_of_exactly_a_huge_page() {
    with_table::<X86_64<4>>(16, |shared, _| {
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.map(Page::new(512), frames(1024, 512), user(), MapOptions::DEFAULT).unwrap();
        assert_eq!(transaction.runs(pages(512, 512)).unwrap().next().map(|run| run.leaves()), Some(1));
        shared.finish(transaction.commit(), &tlb()).unwrap();
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.protect(pages(513, 1), Permissions::READ).unwrap();
        assert_eq!(transaction.runs(pages(512, 512)).unwrap().count(), 3, "it was split");
        shared.finish(transaction.commit(), &tlb()).unwrap();
        let mut gone = 0;
        let mut transaction = shared.transaction(pages(512, 512)).unwrap();
        transaction.unmap(pages(512, 512), |run| gone += run.count()).unwrap();
        shared.finish(transaction.commit(), &tlb()).unwrap();
        assert_eq!(gone, 512);
        // Its table stays, and makes way for a larger leaf when the table above is locked too.
        let mut transaction = shared.transaction(pages(512, 1024)).unwrap();
        transaction.map(Page::new(512), frames(1024, 1024), user(), MapOptions::DEFAULT).unwrap();
        assert_eq!(transaction.runs(pages(512, 1024)).unwrap().next().map(|run| run.leaves()), Some(2));
        let token = transaction.commit();
        assert!(token.owns_tables());
        shared.finish(token, &tlb()).unwrap();
    });
}

#[test]
fn a_table_without_a_word_is_refused() {
    let (window, source) = source(8);
    let mut memory = vec![];
    let mut table = PageTable::<X86_64<4>, _, _>::new(window, &source).unwrap();
    table.map(Page::new(0), frames(1, 1), user(), MapOptions::DEFAULT).unwrap().later();
    let Err(table) = SharedTable::new(table, words(3, &mut memory), Readers::new(&[], NoCpu)) else {
        panic!("four tables, three words");
    };
    let mut memory = vec![];
    let Ok(shared) = SharedTable::new(table, words(4, &mut memory), Readers::new(&[], NoCpu)) else {
        panic!("four tables, four words");
    };
    let mut transaction = shared.transaction(pages(512, 1)).unwrap();
    let refused = transaction.map(Page::new(512), frames(1, 1), user(), MapOptions::DEFAULT);
    assert!(matches!(refused, Err(TableError::Frames(AllocError::OutOfMemory))), "{refused:?}");
    assert_eq!(free(&source), 4);
}

/// Threads map, protect and unmap on one table, in ranges that overlap; others look pages up meanwhile. Page n is only ever
/// mapped to frame n, and a map of the pages says who has which.
#[test]
fn many_threads() {
    many::<X86_64<4>>(0x3_FE00, 1024, 40);
}

#[test]
fn many_threads_with_broken_leaves() {
    many::<AArch64<12>>(0x3_FE00, 1024, 40);
}

fn many<F: TableFormat>(first: u64, span: u64, count: u64) {
    let rounds: u64 = std::env::var("HECTARE_STRESS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(miri) { 8 } else { 2_000 });
    let (window, source) = source(count);
    let mut memory = vec![];
    let words = words(count, &mut memory);
    let (stripes, slots) = ([const { Stripe::new() }; 4], ThreadSlots::new(4));
    let table = PageTable::<F, _, _>::new(window, &source).expect("a root");
    let readers = Readers::new(&stripes, &slots);
    let shared = SharedTable::new(table, words, readers).unwrap_or_else(|_| panic!("words"));
    let is_mapped: Vec<_> = (0..span).map(|_| AtomicU8::new(0)).collect();
    let done = AtomicBool::new(false);
    let attributes = F::nearest(user());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|thread| {
                let (shared, is_mapped) = (&shared, &is_mapped);
                scope.spawn(move || {
                    let mut random = 0x9E37_79B9 * (thread + 1);
                    let mut next = |below: u64| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        (random >> 11) % below
                    };
                    for _ in 0..rounds {
                        let most = [4, 64, span][usize::try_from(next(3)).expect("small")];
                        let (start, length) = (next(span), next(most) + 1);
                        let length = length.min(span - start);
                        let run = pages(first + start, length);
                        let mut transaction = shared.transaction(run).expect("in reach");
                        match next(4) {
                            0 | 1 => {
                                let frames = FrameRun::new(Frame::new(first + start), length).expect("a run");
                                let largest = (next(2) == 0).then_some(F::PAGE);
                                let options = MapOptions { largest, ..MapOptions::DEFAULT };
                                if transaction.map(run.first(), frames, attributes, options).is_ok() {
                                    for page in start..start + length {
                                        let page = usize::try_from(page).expect("small");
                                        assert_eq!(
                                            is_mapped[page].swap(1, Ordering::Relaxed),
                                            0,
                                            "mapped twice"
                                        );
                                    }
                                }
                            }
                            2 => {
                                let gone = transaction.unmap(run, |run| {
                                    for (page, frame) in run.pages().iter().zip(run.frames().iter()) {
                                        assert_eq!(page.number(), frame.number());
                                        let page =
                                            usize::try_from(page.number() - first).expect("in the span");
                                        assert_eq!(
                                            is_mapped[page].swap(0, Ordering::Relaxed),
                                            1,
                                            "not mapped"
                                        );
                                    }
                                });
                                if gone.is_ok() {
                                    for page in start..start + length {
                                        let page = usize::try_from(page).expect("small");
                                        assert_eq!(is_mapped[page].load(Ordering::Relaxed), 0, "forgotten");
                                    }
                                }
                            }
                            _ => {
                                let _ = transaction
                                    .protect(run, F::nearest(Attributes::new(rights(1))).permissions);
                            }
                        }
                        shared.finish(transaction.commit(), &tlb()).expect("its own token");
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let (mut page, mut found) = (0, 0_u64);
            while !done.load(Ordering::Relaxed) {
                page = (page + 37) % span;
                let address = VirtAddr::new((first + page) << F::PAGE.log2());
                if let Some(hit) = shared.find(address) {
                    assert_eq!(hit.address.value(), address.value(), "a wrong translation");
                    found += 1;
                }
            }
            found
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no writer fails"));
        done.store(true, Ordering::Relaxed);
        reader.join().expect("no lookup fails");
    });
    let (mut table, token) = shared.into_table();
    table.finish(token, &tlb()).expect("its own token");
    table.check_invariants().expect("invariants");
    let there: u64 = table.all_runs().map(|run| run.count()).sum();
    assert_eq!(there, is_mapped.iter().map(|page| u64::from(page.load(Ordering::Relaxed))).sum::<u64>());
    let _ = table.destroy(&tlb());
    assert_eq!(free(&source), count, "all frames came back");
}
