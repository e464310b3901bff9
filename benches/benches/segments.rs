//! The hot paths of segments and protection regions.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic; the macros write no documentation")]

use core::hint::black_box;
use core::num::NonZero;

use criterion::{Criterion, criterion_group, criterion_main};
use hectare_core::{Access, Extent, Permissions, VirtAddr};
use hectare_segmentation::protect::{Pmsa7, RegionFormat, RegionSet, cover};
use hectare_segmentation::{BaseLimit, RegionMap, Segment, SegmentNumber, Slot, Table};

fn translation(criterion: &mut Criterion) {
    let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
    let mut table = Table::<[Slot; 64]>::EMPTY;
    for nth in 0..64 {
        table.insert(Segment::up(VirtAddr::new(nth << 20), 0x1_0000, rights).unwrap()).unwrap();
    }
    let bare = BaseLimit::new(VirtAddr::new(0x40_0000), 0x1_0000).unwrap();
    criterion
        .bench_function("base and limit", |bencher| bencher.iter(|| bare.relocate(black_box(0x1234), 8)));
    let number = SegmentNumber::new(7);
    let register = table.load(number, Access::user_read()).unwrap();
    criterion.bench_function("loaded segment", |bencher| {
        bencher.iter(|| register.translate(black_box(0x1234), 8, Access::user_read()));
    });
    criterion.bench_function("segment table", |bencher| {
        bencher.iter(|| table.translate(black_box(number), black_box(0x1234), 8, Access::user_read()));
    });
    let mut map = RegionMap::<u32, 16>::EMPTY;
    for nth in 0..16 {
        map.insert(Extent::new(nth << 13, 4096).unwrap(), 0).unwrap();
    }
    criterion.bench_function("one of 16 regions", |bencher| {
        bencher.iter(|| map.find(black_box(9 << 13)).is_some())
    });
}

fn protection(criterion: &mut Criterion) {
    let (available, wanted) = (Extent::new(0x2000_0120, 10_000).unwrap(), NonZero::new(5_000).unwrap());
    criterion.bench_function("fit one ARMv7-M region", |bencher| {
        bencher.iter(|| Pmsa7::V7.fit(black_box(available), black_box(wanted)));
    });
    let range = Extent::new(0x2000_0120, 0x4A20).unwrap();
    criterion.bench_function("cover by ARMv7-M regions", |bencher| {
        bencher.iter(|| cover::<8>(&Pmsa7::V7, black_box(range)));
    });
    let (mut one, mut two) = (RegionSet::<u64, 8>::EMPTY, RegionSet::<u64, 8>::EMPTY);
    for nth in 0..8 {
        one.push(nth);
        two.push(if nth < 3 { nth + 100 } else { nth });
    }
    criterion.bench_function("switch of tasks, 3 of 8 regions differ", |bencher| {
        bencher.iter(|| black_box(&one).changes_to(black_box(&two)).count());
    });
}

criterion_group!(benches, translation, protection);
criterion_main!(benches);
