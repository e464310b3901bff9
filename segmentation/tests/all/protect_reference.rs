//! Reference values of protection regions: from manuals, other systems, and read back from QEMU's machines.
use hectare_core::{Extent, Permissions};
use hectare_segmentation::protect::{
    Change, Memory7, Pmp, PmpEntry, PmpMode, Pmsa7, Region7, Region8, RegionSet, Rights, Shareability,
};

const NONE: Permissions = Permissions::empty();
const R: Permissions = Permissions::READ;
const W: Permissions = Permissions::WRITE;
const X: Permissions = Permissions::EXECUTE;

fn extent(start: u64, length: u64) -> Extent {
    Extent::new(start, length).expect("not empty")
}

fn same(of: Permissions) -> Rights {
    Rights { kernel: of, user: of }
}

#[test]
fn pmsa7() {
    let region = |start, length, rights| {
        Region7::new(Pmsa7::V7, extent(start, length), rights, Memory7::NORMAL).expect("one region")
    };
    // The first five eighths of 4 KiB; QEMU reads the same back.
    assert_eq!(region(0x2001_0000, 0xA00, same(R | W)).encode(2), (0x2001_0012, 0x130B_E017));
    // Subregion 1 of 256 bytes, read-only for the program. RASR has TEX 1, C, B beside the manual's example of TEX 0.
    let small = region(0x2001_2020, 0x20, Rights { kernel: R | W, user: R });
    assert_eq!(small.encode(0), (0x2001_2020 & !0x3F | 0x20 | 0x10, 0x120B_0009));
    // The chapter's segment 1: 20 KiB are five eighths of 32 KiB.
    let device = Memory7::new(0, false, false, false);
    let chapter =
        Region7::new(Pmsa7::V7, extent(0x60_0000, 0x5000), same(R | W), device).expect("one region");
    assert_eq!(chapter.encode(0), (0x0060_0010, 0x1300_E01D));
    assert_eq!(Region7::decode(0x0060_0000, 0x1300_E01D), Some(chapter));
}

#[test]
fn pmsa7_refuses_what_is_unpredictable() {
    assert_eq!(Region7::decode(0x2000_0000, 0x0300_0100 | 6 << 1 | 1), None, "eighths of 128 bytes");
    assert_eq!(Region7::decode(0x2000_0020, 0x0300_0000 | 5 << 1 | 1), None, "not aligned to its 64 bytes");
    assert_eq!(Region7::decode(0x2000_0000, 0x0400_0000 | 5 << 1 | 1), None, "AP 4");
    assert_eq!(Region7::decode(0x2000_0000, 0x0300_0000 | 3 << 1 | 1), None, "16 bytes");
    assert_eq!(Region7::decode(0x2000_0000, 0x0300_0000 | 5 << 1), None, "off");
    let new = |format, rights| Region7::new(format, extent(0x2000_0000, 0x20), rights, Memory7::NORMAL);
    let eighth = new(Pmsa7::V6, same(R)).expect("an eighth of 256 bytes, the smallest of ARMv6-M");
    assert_eq!(eighth.encode(0).1 & 0xFF3F, 0xFE00 | 7 << 1 | 1);
    assert_eq!(new(Pmsa7::V7, Rights { kernel: NONE, user: R }), None, "the kernel has what the program has");
    assert_eq!(new(Pmsa7::V7, Rights { kernel: R | X, user: R }), None, "execution is for all who read");
    assert!(new(Pmsa7::V7, Rights { kernel: R | X, user: NONE }).is_some());
}

#[test]
fn pmsa8() {
    let code =
        Region8::new(extent(0x40_0000, 0x1_0000), same(R | X), 0, Shareability::None).expect("blocks of 32");
    assert_eq!(code.encode(), (0x0040_0006, 0x0040_FFE1));
    let data =
        Region8::new(extent(0x60_0000, 0x5000), same(R | W), 0, Shareability::None).expect("blocks of 32");
    assert_eq!(data.encode(), (0x0060_0003, 0x0060_4FE1));
    for region in [code, data] {
        let (rbar, rlar) = region.encode();
        assert_eq!(Region8::decode(rbar, rlar), Some(region));
    }
    assert_eq!(Region8::new(extent(0x60_0000, 0x5010), same(R), 0, Shareability::None), None);
    assert_eq!(
        Region8::new(extent(0x60_0000, 0x5000), Rights { kernel: R | W, user: R }, 0, Shareability::None),
        None
    );
}

#[test]
fn pmp_powers_of_two() {
    let table = [
        (0, (0, 8)),
        (1, (0, 16)),
        (2, (8, 8)),
        (3, (0, 32)),
        (5, (16, 16)),
        (0xB, (32, 32)),
        (0xFFFF_FFFF, (0, 1 << 35)),
        (0x3F_FFFF_FFFF_FFFF, (0, 1 << 57)),
    ];
    for (address, (start, length)) in table {
        let entry = PmpEntry::new(PmpMode::PowerOfTwo, address, R, false).expect("not reserved");
        assert_eq!(entry.extent(0), Some(extent(start, length)), "{address:#x}");
    }
    let everything = PmpEntry::new(PmpMode::PowerOfTwo, u64::MAX, R, false).expect("not reserved");
    assert_eq!(everything.extent(0), Some(extent(0, u64::MAX)));
}

#[test]
fn pmp_of_the_chapters_segments() {
    let napot = |start, length, rights| {
        Pmp::RV32.power_of_two(extent(start, length), rights, false).map(PmpEntry::encode)
    };
    assert_eq!(napot(0x40_0000, 0x1_0000, R | X), Some((0x1D, 0x10_1FFF)));
    assert_eq!(napot(0x60_0000, 0x5000, R | W), None, "no power of two");
    assert_eq!(napot(0x7FFF_0000, 0x1_0000, R | W), Some((0x1B, 0x1FFF_DFFF)));
    assert_eq!(napot(0x80_0000, 0x2_0000, R | W), Some((0x1B, 0x20_3FFF)));
    let top = |start, length, rights| {
        Pmp::RV32.from_to(extent(start, length), rights, false).map(|pair| pair.map(PmpEntry::encode))
    };
    assert_eq!(top(0x40_0000, 0x1_0000, R | X), Some([(0, 0x10_0000), (0x0D, 0x10_4000)]));
    assert_eq!(top(0x60_0000, 0x5000, R | W), Some([(0, 0x18_0000), (0x0B, 0x18_1400)]));
    assert_eq!(napot(0x1000, 4, R), Some((0x11, 0x400)));
    assert_eq!(Pmp::RV32.with_grain(3).expect("8 bytes").power_of_two(extent(0x1000, 4), R, false), None);
}

#[test]
fn pmp_refuses_the_reserved_rights() {
    assert_eq!(PmpEntry::new(PmpMode::PowerOfTwo, 0, W, false), None);
    assert_eq!(PmpEntry::decode(0b0001_1010, 0), None);
    let locked = PmpEntry::new(PmpMode::Top, 0x400, R | W | X, true).expect("not reserved");
    assert_eq!(locked.encode(), (0x8F, 0x400));
    assert_eq!(PmpEntry::decode(0x8F, 0x400), Some(locked));
}

#[test]
fn a_switch_writes_what_differs() {
    let mut one = RegionSet::<u32, 4>::EMPTY;
    let mut two = RegionSet::EMPTY;
    for (set, values) in [(&mut one, [7, 8, 9]), (&mut two, [7, 5, 9])] {
        for value in values {
            set.push(value).expect("room");
        }
    }
    two.set(2, None);
    let changes: Vec<_> = one.changes_to(&two).collect();
    assert_eq!(changes, [Change { number: 1, region: Some(5) }, Change { number: 2, region: None }]);
    for change in changes {
        one.set(change.number, change.region);
    }
    assert_eq!(one, two);
    assert_eq!(two.push(1), Some(2));
    assert_eq!((two.push(1), two.push(1)), (Some(3), None));
}
