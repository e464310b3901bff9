//! The hot paths of page tables, with their tables there: x86-64, base pages.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic; the macros write no documentation")]
#![expect(unsafe_code, reason = "promises about CPUs and lock words")]

use core::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hectare_core::sync::atomic::AtomicU32;
use hectare_core::{
    Frame, FrameRun, Locked, NoCpu, Page, PageRun, PageSize, Permissions, PhysAddr, SpinLock,
};
use hectare_paging::format::X86_64;
use hectare_paging::table::{MapOptions, NotLoaded, Readers, SharedTable, TableWords};
use hectare_paging::{Attributes, PageTable, Touched};
use hectare_testkit::stand_in::PlainFrames;

const PAGES: u64 = 512;
const FIRST: u64 = 1 << 20;

fn pages(first: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(first), count).unwrap()
}

fn frames(first: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(first), count).unwrap()
}

fn tables(criterion: &mut Criterion) {
    // SAFETY: no CPU uses the tables.
    let tlb = unsafe { NotLoaded::new() };
    let user = Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER);
    let options = MapOptions::BASE_PAGES.with_touched(Touched::DIRTY);
    let plain = PlainFrames::<12>::new(0x100, 16);
    let window = plain.window();
    let source = Locked::<SpinLock, _>::new(plain);
    let mut table = PageTable::<X86_64<4>, _, _>::new(window, &source).unwrap();
    // The pages of two tables; a page of each that stays keeps them.
    for first in [FIRST, FIRST + PAGES] {
        table.map(Page::new(first), frames(7, 1), user, options).unwrap().finish(&tlb);
    }
    let (range, run) = (pages(FIRST + 1, PAGES - 1), frames(0x8000, PAGES - 1));
    criterion.bench_function("511 pages mapped and unmapped", |bencher| {
        bencher.iter(|| {
            table.map(range.first(), black_box(run), user, options).unwrap().finish(&tlb);
            let token = table
                .unmap(range, |run| {
                    black_box(run);
                })
                .unwrap();
            table.finish(token, &tlb).unwrap();
        });
    });
    let mut page = 0;
    criterion.bench_function("one page mapped and unmapped", |bencher| {
        bencher.iter(|| {
            page = page % (PAGES - 1) + 1;
            table.map(Page::new(FIRST + page), frames(page, 1), user, options).unwrap().finish(&tlb);
            let token = table
                .unmap(pages(FIRST + page, 1), |run| {
                    black_box(run);
                })
                .unwrap();
            table.finish(token, &tlb).unwrap();
        });
    });
    table.map(range.first(), run, user, options).unwrap().finish(&tlb);
    let mut write = false;
    criterion.bench_function("511 pages protected", |bencher| {
        bencher.iter(|| {
            write = !write;
            let rights = user.permissions - if write { Permissions::WRITE } else { Permissions::empty() };
            let token = table.protect(range, rights).unwrap();
            table.finish(token, &tlb).unwrap();
        });
    });
    criterion.bench_function("one page found", |bencher| {
        bencher.iter(|| {
            page = (page + 37) % PAGES;
            table.find(Page::new(FIRST + page).start(PageSize::SIZE_4K).unwrap())
        });
    });
    let mut to = [FIRST, FIRST + (1 << 18)];
    criterion.bench_function("a table of pages moved", |bencher| {
        bencher.iter(|| {
            let token = table.remap(pages(to[0], PAGES), Page::new(to[1])).unwrap();
            table.finish(token, &tlb).unwrap();
            to.swap(0, 1);
        });
    });
    let mut words: Vec<_> = (0..16).map(|_| AtomicU32::new(0)).collect();
    // SAFETY: one source.
    let words = unsafe { TableWords::new(PhysAddr::new(0x100 << 12), PageSize::SIZE_4K, &mut words) };
    let Ok(shared) = SharedTable::new(table, words, Readers::new(&[], NoCpu)) else { unreachable!() };
    let other = FIRST + PAGES;
    criterion.bench_function("shared: one page mapped and unmapped", |bencher| {
        bencher.iter(|| {
            page = page % (PAGES - 1) + 1;
            let mut transaction = shared.transaction(pages(other + page, 1)).unwrap();
            transaction.map(Page::new(other + page), frames(page, 1), user, options).unwrap();
            transaction
                .unmap(pages(other + page, 1), |run| {
                    black_box(run);
                })
                .unwrap();
            shared.finish(transaction.commit(), &tlb).unwrap();
        });
    });
    criterion.bench_function("shared: one page found", |bencher| {
        bencher.iter(|| shared.find(Page::new(other).start(PageSize::SIZE_4K).unwrap()));
    });
}

criterion_group!(benches, tables);
criterion_main!(benches);
