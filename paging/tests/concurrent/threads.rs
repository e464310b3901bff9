//! Threads map, protect, coalesce and unmap on one table, in ranges that overlap, and move pages; others look pages up
//! meanwhile.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use hectare_core::{CheckInvariants, Frame, FrameRun, VirtAddr};
use hectare_paging::format::{AArch64, X86_64};
use hectare_paging::table::{MapOptions, Readers, SharedTable, Stripe};
use hectare_paging::{Attributes, PageTable, TableFormat};
use hectare_testkit::stand_in::ThreadSlots;

use super::world::{pages, tlb};
use super::{free, rights, source, user, words};

/// Page n is only ever mapped to frame n, and a map of the pages says who has which.
#[test]
fn many_threads() {
    many::<X86_64<4>>(0x3_FE00, 1024, 40);
}

#[test]
fn many_threads_with_broken_leaves() {
    many::<AArch64<12>>(0x3_FE00, 1024, 40);
}

fn rounds() -> u64 {
    let asked = std::env::var("HECTARE_STRESS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 8 } else { 2_000 })
}

fn many<F: TableFormat>(first: u64, span: u64, count: u64) {
    let rounds = rounds();
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
                        match next(5) {
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
                            3 => transaction.coalesce(run).expect("its own"),
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

/// A huge page is split and made whole again, over and over: whoever looks finds it. Not where the architecture wants it absent
/// for a moment.
#[test]
fn what_is_mapped_all_the_time_is_found_all_the_time() {
    let rounds = rounds();
    let (window, source) = source(8);
    let mut memory = vec![];
    let (stripes, slots) = ([const { Stripe::new() }; 2], ThreadSlots::new(2));
    let mut table = PageTable::<X86_64<4>, _, _>::new(window, &source).expect("a root");
    let (run, at) = (FrameRun::new(Frame::new(512), 512).expect("a run"), pages(512, 512));
    table.map(at.first(), run, user(), MapOptions::DEFAULT).expect("mapped").later();
    let shared = SharedTable::new(table, words(8, &mut memory), Readers::new(&stripes, &slots));
    let shared = shared.unwrap_or_else(|_| panic!("words"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                for permissions in [rights(1), rights(0)] {
                    let mut transaction = shared.transaction(pages(512, 1024)).expect("in reach");
                    transaction.protect(pages(600, 1), permissions).expect("a table");
                    transaction.coalesce(at).expect("its own");
                    shared.finish(transaction.commit(), &tlb()).expect("its own token");
                }
                assert_eq!(shared.tables(), 3, "whole again");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            for page in [512, 600, 1023] {
                let hit = shared.find(VirtAddr::new(page << 12)).expect("mapped all the time");
                assert_eq!(hit.address.value(), page << 12);
            }
        }
    });
}
