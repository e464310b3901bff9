//! Random operations, with a source that fails at every place where it can.

use hectare_core::{PageSize, Permissions};
use hectare_paging::format::{
    AArch64, Ept, Pae, RiscV, Stage2, Sv32, Sv39, Sv48, Sv57, Toy, X86, X86_64, aarch64, riscv,
};
use hectare_paging::table::MapOptions;
use hectare_paging::{Attributes, MemoryType, TableFormat, Touched};
use proptest::prelude::*;

use super::world::World;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Map { first: u64, count: u64, frame: u64, attributes: usize, largest: u8, touched: bool },
    Unmap { first: u64, count: u64 },
    Forget { first: u64, count: u64 },
    Protect { first: u64, count: u64, attributes: usize },
    Harvest { first: u64, count: u64, accessed: bool, dirty: bool },
    Copy { first: u64, count: u64, protect: bool },
    Remap { first: u64, count: u64, to: u64, aligned: u8 },
    Coalesce { first: u64, count: u64 },
    Access { page: u64, write: bool },
}

/// What leaves may say, as far as the format can.
fn attributes<F: TableFormat>(index: usize) -> Attributes {
    let sets = [
        Permissions::READ | Permissions::WRITE | Permissions::USER,
        Permissions::READ,
        Permissions::READ | Permissions::EXECUTE | Permissions::USER,
        Permissions::READ | Permissions::WRITE,
    ];
    let attributes = Attributes::new(sets[index % 4]);
    let attributes =
        if index / 4 % 2 == 1 { attributes.with_memory(MemoryType::Uncached) } else { attributes };
    F::nearest(attributes.with_global(index / 8 % 2 == 1 && F::GLOBAL))
}

pub(super) fn run<F: TableFormat>(window: core::ops::Range<u64>, frames: u64, ops: &[Op]) {
    let mut world = World::<F>::new(frames);
    let span = window.end - window.start;
    // Lengths cluster at small numbers and at whole tables.
    let place = |first: u64, count: u64| {
        let first = window.start + first % span;
        (first, (count % span + 1).min(window.end - first))
    };
    for op in ops {
        let _ = match *op {
            Op::Map { first, count, frame, attributes: which, largest, touched } => {
                let (first, count) = place(first, count);
                // Half of the runs lie so that large leaves fit.
                let frame = if frame % 2 == 0 { frame / 2 * 512 + first % 512 } else { frame };
                let mut options =
                    MapOptions::DEFAULT.with_touched(if touched { Touched::DIRTY } else { Touched::NO });
                if largest < 4 {
                    options.largest = PageSize::from_log2(F::SHIFTS[usize::from(largest) % F::LEVELS]);
                }
                let attributes = attributes::<F>(which);
                world.failing(|world| world.map(first, frame, count, attributes, options))
            }
            Op::Unmap { first, count } => {
                let (first, count) = place(first, count);
                world.failing(|world| world.unmap(first, count))
            }
            Op::Forget { first, count } => {
                let (first, count) = place(first, count);
                world.failing(|world| world.forget(first, count))
            }
            Op::Protect { first, count, attributes: which } => {
                let (first, count) = place(first, count);
                let permissions = attributes::<F>(which).permissions;
                world.failing(|world| world.protect(first, count, permissions))
            }
            Op::Harvest { first, count, accessed, dirty } => {
                let (first, count) = place(first, count);
                world.failing(|world| world.harvest(first, count, Touched { accessed, dirty }))
            }
            Op::Copy { first, count, protect } => {
                let (first, count) = place(first, count);
                let mut other = World::<F>::new(frames);
                let half = count / 2;
                let both = [(first, half), (first + half, count - half), (first, count)];
                for (nth, (first, count)) in both.into_iter().enumerate().filter(|(_, part)| part.1 != 0) {
                    let expected = nth == 2 && other.model.range(first..first + count).next().is_some();
                    let copied = world.failing(|world| world.copy(&mut other, first, count, protect));
                    assert_eq!(copied.is_err(), expected, "{copied:?}");
                    other.check([first, first + count - 1]);
                }
                other.destroy();
                Ok(())
            }
            Op::Remap { first, count, to, aligned } => {
                let (first, count) = place(first, count);
                let mut to = window.start + to % span;
                if let Some(bits) = F::SHIFTS.get(usize::from(aligned)).filter(|_| aligned < 3) {
                    // Aligned as the old pages are, to a table of some level.
                    let mask = (1 << (bits - F::PAGE.log2())) - 1;
                    let like = to & !mask | first & mask;
                    to = if window.contains(&like) { like } else { to };
                }
                let count = count.min(window.end - to);
                let taken = world.model.range(to..to + count).next().is_some();
                let apart = to + count <= first || first + count <= to;
                let expected = taken || !apart;
                let moved = world.failing(|world| world.remap(first, count, to));
                assert_eq!(moved.is_err(), expected, "{moved:?}");
                Ok(())
            }
            Op::Coalesce { first, count } => {
                let (first, count) = place(first, count);
                world.coalesce(first, count)
            }
            Op::Access { page, write } => {
                world.access(window.start + page % span, write);
                Ok(())
            }
        };
        let edges = [window.start, window.start + span / 3, window.start + span / 2, window.end - 1];
        world.check(edges);
    }
    world.destroy();
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let at = || (any::<u64>(), prop_oneof![0..3_u64, 0..600_u64, Just(511), Just(1023), any::<u64>()]);
    prop_oneof![
        4 => (at(), 0..4000_u64, 0..16_usize, 0..8_u8, any::<bool>()).prop_map(
            |((first, count), frame, attributes, largest, touched)| Op::Map {
                first: if largest % 2 == 0 { first & !511 } else { first },
                count, frame, attributes, largest, touched,
            }
        ),
        3 => at().prop_map(|(first, count)| Op::Unmap { first, count }),
        1 => at().prop_map(|(first, count)| Op::Forget { first, count }),
        2 => (at(), 0..16_usize).prop_map(|((first, count), attributes)| Op::Protect { first, count, attributes }),
        1 => (at(), any::<bool>(), any::<bool>())
            .prop_map(|((first, count), accessed, dirty)| Op::Harvest { first, count, accessed, dirty }),
        1 => (at(), any::<bool>())
            .prop_map(|((first, count), protect)| Op::Copy { first, count, protect }),
        2 => (at(), any::<u64>(), 0..4_u8)
            .prop_map(|((first, count), to, aligned)| Op::Remap { first, count, to, aligned }),
        1 => at().prop_map(|(first, count)| Op::Coalesce { first, count }),
        2 => (any::<u64>(), any::<bool>()).prop_map(|(page, write)| Op::Access { page, write }),
    ]
}

macro_rules! formats {
    ($($name:ident: $format:ty, $window:expr, $frames:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $name(ops in proptest::collection::vec(op(), 1..24)) {
                run::<$format>($window, $frames, &ops);
            }
        }
    )*};
}

formats! {
    x86_64_around_a_gibibyte: X86_64<4>, 0x3_FC00..0x4_0400, 40;
    x86_64_upper_half: X86_64<4>, 0xF_FFFF_FFFF_F000..0x10_0000_0000_0000, 40;
    x86_64_five_levels: X86_64<5>, 0x3_FC00..0x4_0400, 40;
toy_of_sixteen_pages: Toy<2, 2, 0>, 0..16, 12;
    toy_of_three_levels: Toy<3, 2, 0>, 0..64, 40;
    toy_with_contiguous_runs: Toy<3, 3, 2>, 0..512, 100;
    x86_two_levels: X86, 0xBFC00..0xC0400, 20;
    x86_pse36: X86<true>, 0xBFC00..0xC0400, 20;
    pae: Pae, 0xBFC00..0xC0400, 20;
    sv32: Sv32, 0xBFC00..0xC0400, 20;
    sv39: Sv39, 0x3_FC00..0x4_0400, 20;
    sv39_svnapot: RiscV<3, { riscv::SVNAPOT | riscv::SVADU }>, 0x3_FC00..0x4_0400, 20;
    sv48: Sv48, 0xF_FFFF_FFFF_F000..0x10_0000_0000_0000, 40;
    sv57: Sv57, 0x3_FC00..0x4_0400, 40;
    ept: Ept, 0x3_FC00..0x4_0400, 40;
    aarch64_4k: AArch64<12>, 0x3_FC00..0x4_0400, 40;
    aarch64_16k: AArch64<14>, 0x3_F000..0x4_1000, 160;
    aarch64_64k: AArch64<16>, 0x1_FFF0..0x2_2010, 640;
    aarch64_lpa2: AArch64<12, 52, { aarch64::LPA2 }>, 0x3_FC00..0x4_0400, 40;
    stage_2: Stage2<12, 40>, 0x3_FC00..0x4_0400, 40;
}
