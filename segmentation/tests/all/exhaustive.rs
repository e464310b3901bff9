//! Small spaces, all of them: NAPOT registers of 16 bits, masks of subregions, limits at their borders.
use hectare_core::{AccessKind, Extent, Permissions};
use hectare_segmentation::protect::{Memory7, Pmp, PmpEntry, PmpMode, Pmsa7, Region7, Rights};
use hectare_segmentation::x86::{Kind, Limit, Ring, SegmentDescriptor};

#[test]
fn every_napot_register_of_16_bits() {
    for address in 0..=0xFFFF_u64 {
        let entry =
            PmpEntry::new(PmpMode::PowerOfTwo, address, Permissions::READ, false).expect("not reserved");
        // Ones at the low end count the size, the rest is the base.
        let (mut size, mut base) = (8_u64, address);
        while base & 1 == 1 {
            (size, base) = (size * 2, base >> 1);
        }
        let start = base * size / 2;
        let extent = Extent::new(start, size).expect("not empty");
        assert_eq!(entry.extent(0), Some(extent), "{address:#x}");
        assert_eq!(Pmp::RV32.power_of_two(extent, Permissions::READ, false), Some(entry), "{address:#x}");
    }
}

#[test]
fn every_mask_of_subregions() {
    let rights = Rights { kernel: Permissions::READ | Permissions::WRITE, user: Permissions::READ };
    for log2 in 5..=32_u32 {
        for mask in 0..=0xFF_u32 {
            let block = 1_u64 << log2;
            let base = if log2 == 32 { 0 } else { u32::try_from(block).expect("below 2^32") };
            let rasr = 2 << 24 | 1 << 28 | mask << 8 | (log2 - 1) << 1 | 1;
            let on: Vec<u64> = (0..8).filter(|eighth| mask & 1 << eighth == 0).collect();
            let run = on.windows(2).all(|pair| pair[1] == pair[0] + 1) && !on.is_empty();
            let region = Region7::decode(base, rasr);
            assert_eq!(region.is_some(), if log2 < 8 { mask == 0 } else { run }, "2^{log2}, {mask:#x}");
            let Some(region) = region else { continue };
            let part = block / 8;
            let expected = if log2 < 8 {
                Extent::new(base.into(), block)
            } else {
                Extent::new(u64::from(base) + on[0] * part, on.len() as u64 * part)
            };
            assert_eq!(region.extent(), expected);
            // The smallest block is chosen when it is encoded again; the bytes stay the same.
            let again = Region7::new(Pmsa7::V7, expected.expect("not empty"), rights, Memory7::DEVICE);
            assert_eq!(again.and_then(Region7::extent), expected);
        }
    }
}

/// All limits × granularity × types × sizes of the offset space, at the offsets where the answer changes.
#[test]
fn every_limit_at_its_borders() {
    let kinds = [
        Kind::Data { expand_down: false, writable: true },
        Kind::Data { expand_down: true, writable: true },
        Kind::Data { expand_down: true, writable: false },
        Kind::Code { conforming: false, readable: true },
        Kind::Code { conforming: false, readable: false },
    ];
    for field in 0..1_u32 << 20 {
        // All limits near the ends, a third of those between.
        if (0x100..0xF_FF00).contains(&field) && field % 3 != 0 {
            continue;
        }
        for (pages, big) in [(false, false), (false, true), (true, false), (true, true)] {
            let last = if pages { u64::from(field) * 4096 + 4095 } else { u64::from(field) };
            let limit = Limit::new(field, pages).expect("20 bits");
            for kind in kinds {
                let segment = SegmentDescriptor {
                    limit,
                    kind,
                    big,
                    base: 0x1000,
                    ..SegmentDescriptor::flat_data(Ring::Ring3)
                };
                for offset in [0, last.saturating_sub(3), last, last + 1, 0xFFFD, 0xFFFF_FFFC] {
                    let Ok(offset) = u32::try_from(offset) else { continue };
                    let end = u64::from(offset) + 3;
                    let top = if big { 0xFFFF_FFFF } else { 0xFFFF };
                    let down = matches!(kind, Kind::Data { expand_down: true, .. });
                    let inside = if down { u64::from(offset) > last && end <= top } else { end <= last };
                    let reads = !matches!(kind, Kind::Code { readable: false, .. });
                    let writes = matches!(kind, Kind::Data { writable: true, .. });
                    let legal = |access| segment.access(offset, 4, access).is_some();
                    assert_eq!(legal(AccessKind::Read), inside && reads, "{segment:?} {offset:#x}");
                    assert_eq!(legal(AccessKind::Write), inside && writes, "{segment:?} {offset:#x}");
                }
            }
        }
    }
}
