//! Random operations on tables that a hostile translation unit walks between any two stores.
//!
//! `PROPTEST_CASES=…` tries so many other sequences of each format. A failure names its seed: with `HECTARE_SEED=…` too, it
//! is the same run again.
#![allow(clippy::std_instead_of_alloc, reason = "tests have std")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use core::ops::Range;

use hectare_paging::TableFormat;
use hectare_paging::format::{
    AArch64, Ept, Pae, RiscV, Stage2, Sv32, Sv39, Sv57, Toy, X86, X86_64, aarch64, ept, riscv,
};

use machine::Machine;
use sequences::{At, Dice, Op, Step, hostile};
use walkers::Walked;

mod machine;
mod memory;
mod mmu;
mod sequences;
mod table;
#[path = "../support/walkers.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod walkers;
mod world;

fn survive<F: TableFormat + Walked>(span: Range<u64>, frames: u64, unit: u64, steps: &[Step]) {
    let mut machine = Machine::<F>::new(span, frames, unit);
    steps.iter().for_each(|step| machine.run(step));
    machine.end();
}

fn survive_shared<F: TableFormat + Walked>(
    span: Range<u64>,
    from: u64,
    frames: u64,
    unit: u64,
    steps: &[Step],
) {
    let mut machine = Machine::<F>::with_shared_half(span, from, frames, unit);
    steps.iter().for_each(|step| machine.run(step));
    machine.end();
}

/// How many units are tried: few where each step is interpreted.
const fn times(usual: u64) -> u64 {
    if cfg!(miri) { 2 } else { usual }
}

macro_rules! formats {
    ($($name:ident: $format:ty, $pages:expr, $frames:expr;)*) => {$(
        #[test]
        fn $name() {
            hostile(|unit, steps| survive::<$format>($pages, $frames, unit, steps));
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
    aarch64_64k: AArch64<16, 42, MANAGED>, 0x1FC0..0x2040, 240;
    stage2: Stage2<12, 40, MANAGED>, 0x3_FE00..0x4_0200, 64;
}

macro_rules! shared_halves {
    ($($name:ident: $format:ty, $pages:expr, $from:expr, $frames:expr;)*) => {$(
        #[test]
        fn $name() {
            hostile(|unit, steps| survive_shared::<$format>($pages, $from, $frames, unit, steps));
        }
    )*};
}
shared_halves! {
    shared_toy: Toy<3, 2, 1>, 0..64, 32, 64;
    shared_x86: X86, 0x3FC00..0x40400, 0x40000, 48;
    shared_pae: Pae, 0x3FE00..0x40200, 0x40000, 48;
    shared_sv39: Sv39, 0x3_FE00..0x4_0200, 0x4_0000, 48;
    shared_aarch64_4k: AArch64<12, 39, MANAGED>, 0x3_FE00..0x4_0200, 0x4_0000, 48;
}

macro_rules! among_cpus {
    ($($name:ident: $format:ty, $pages:expr, $from:expr, $frames:expr;)*) => {$(
        #[test]
        fn $name() {
            hostile(|unit, steps| {
                let mut machine = Machine::<$format>::new($pages, $frames, unit).among_cpus();
                steps.iter().for_each(|step| machine.run(step));
                machine.end();
                let half = Machine::<$format>::with_shared_half($pages, $from, $frames, unit);
                let mut machine = half.among_cpus();
                steps.iter().for_each(|step| machine.run(step));
                machine.end();
            });
        }
    )*};
}
// Tables that many CPUs share, by themselves and with a kernel's half: their operations in transactions.
among_cpus! {
    cpus_toy: Toy<3, 2, 1>, 0..64, 32, 64;
    cpus_x86: X86, 0x3FC00..0x40400, 0x40000, 48;
    cpus_pae: Pae, 0x3FE00..0x40200, 0x40000, 48;
    cpus_x86_64: X86_64<4>, 0x7FF_FE00..0x800_0200, 0x800_0000, 48;
    cpus_sv39_svade: Sv39, 0x3_FE00..0x4_0200, 0x4_0000, 48;
    cpus_sv39_with_extensions: RiscV<3, EXTENSIONS>, 0x3_FE00..0x4_0200, 0x4_0000, 48;
    cpus_aarch64_4k: AArch64<12, 39, MANAGED>, 0x3_FE00..0x4_0200, 0x4_0000, 48;
}

/// A right to write is taken, nothing is paid yet, and the page goes: a write through the stale right must be told.
#[test]
fn a_write_through_a_stale_right_is_told() {
    let at = At { first: 0, more: 15 };
    let map = Op::Map { at, attributes: 0, largest: false, touched: false, contiguous: false };
    let protect = Op::Protect { at, attributes: 1 };
    let step = |op, later| Step { op, who: 0, later };
    for last in [Op::Unmap { at }, Op::Protect { at, attributes: 2 }, Op::Copy { at, protect: true }] {
        let steps = [step(map, false), step(protect, true), step(last, false)];
        let mut dice = Dice(1);
        for _ in 0..times(200) {
            survive::<Toy<2, 2, 0>>(0..16, 24, dice.any(), &steps);
        }
    }
}

/// A contiguous run gets the right to write entry by entry: what is written through the first one may be recorded in one
/// that has it not yet.
#[test]
fn a_right_to_write_speaks_for_the_whole_run() {
    let at = At { first: 0, more: u64::MAX };
    let map = Op::Map { at, attributes: 1, largest: false, touched: false, contiguous: true };
    let step = |op| Step { op, who: 0, later: false };
    let steps = [step(map), step(Op::Protect { at, attributes: 0 })];
    let mut dice = Dice(2);
    for _ in 0..times(400) {
        survive::<Toy<2, 4, 3>>(0..64, 24, dice.any(), &steps);
    }
}

/// A table becomes a leaf where the architecture wants break-before-make: caches of upper levels must not lead to it.
#[test]
fn a_table_that_becomes_a_leaf_is_out_of_every_cache() {
    let at = At { first: 512, more: 511 };
    let map = Op::Map { at, attributes: 0, largest: false, touched: false, contiguous: false };
    let step = |op| Step { op, who: 0, later: false };
    let steps = [step(map), step(Op::Coalesce { at })];
    let mut dice = Dice(3);
    for _ in 0..times(200) {
        survive::<AArch64<12, 39, MANAGED>>(0x3_FE00..0x4_0200, 24, dice.any(), &steps);
    }
}

/// Bits that the hardware sets between a look and the unmap cut a run in two: a cursor reports both.
#[test]
fn a_cursor_takes_all_that_it_unmaps() {
    let at = At { first: 0, more: 15 };
    let map = Op::Map { at, attributes: 0, largest: false, touched: false, contiguous: false };
    let step = |op| Step { op, who: 0, later: true };
    let steps = [step(map), step(Op::Walk { at, most: 9, attributes: 0, turn: 2 })];
    let mut dice = Dice(4);
    for _ in 0..times(200) {
        survive::<Toy<2, 2, 0>>(0..16, 24, dice.any(), &steps);
    }
}

/// Software state 0 is none: no empty table stays behind, over which a larger leaf would be written.
#[test]
fn no_state_leaves_no_table() {
    let all = At { first: 0, more: u64::MAX };
    let map = Op::Map { at: all, attributes: 0, largest: true, touched: false, contiguous: true };
    let step = |op| Step { op, who: 0, later: false };
    let steps = [step(Op::Keep { page: 5, state: 0 }), step(Op::Keep { page: 9, state: 1 })];
    for steps in [vec![steps[0], step(map)], vec![steps[1], step(Op::Keep { page: 9, state: 0 }), step(map)]]
    {
        survive::<Toy<3, 2, 0>>(0..64, 24, 5, &steps);
        survive::<X86_64<4>>(0x3_FE00..0x4_0200, 24, 5, &steps);
    }
}

/// Software state in an address space whose root had no table there: PAE reads its root again.
#[test]
fn state_below_a_latched_root() {
    let steps = [Step { op: Op::Keep { page: 9, state: 1 }, who: 0, later: false }];
    survive::<Pae>(0x3FE00..0x40200, 24, 6, &steps);
}

/// Empty tables stay in a half that others share: a larger leaf does not take the place of one.
#[test]
fn a_large_leaf_beside_the_tables_of_a_shared_half() {
    let at = At { first: 512, more: 511 };
    let map = |largest| Op::Map { at, attributes: 0, largest, touched: false, contiguous: true };
    let step = |op| Step { op, who: 0, later: false };
    let steps = [step(map(false)), step(Op::Unmap { at }), step(map(true))];
    survive_shared::<X86>(0x3FC00..0x40400, 0x40000, 24, 7, &steps);
    survive_shared::<Toy<3, 2, 1>>(0..64, 32, 64, 7, &steps);
}

/// A table moved: once that is paid, no cache leads to it from its old place.
#[test]
fn an_old_place_is_forgotten() {
    let at = At { first: 0, more: 15 };
    let map = Op::Map { at, attributes: 0, largest: false, touched: false, contiguous: false };
    let mut dice = Dice(9);
    for _ in 0..times(200) {
        let mut machine = Machine::<Toy<3, 2, 0>>::new(0..64, 64, dice.any());
        for op in [map, Op::Remap { at, to: 32, aligned: true }] {
            machine.run(&Step { op, who: 0, later: false });
        }
        machine.end();
    }
}

/// A table moved, and goes from its new place before its old addresses are invalidated: caches may still lead to it from
/// there.
#[test]
fn a_table_that_moved_is_freed_only_when_its_old_place_is_forgotten() {
    let at = At { first: 0, more: 15 };
    let op = Op::Map { at, attributes: 0, largest: false, touched: false, contiguous: false };
    let mut dice = Dice(8);
    for _ in 0..times(200) {
        let mut machine = Machine::<Toy<3, 2, 0>>::new(0..64, 64, dice.any());
        machine.run(&Step { op, who: 0, later: false });
        machine.forget_what_moved(0, 32, 16);
        machine.end();
    }
}

/// Pages get the right to write before it is paid that a leaf replaced their table: caches may still lead to that table,
/// and a write be recorded there.
#[test]
fn a_right_to_write_where_a_table_was_replaced() {
    let at = At { first: 0, more: u64::MAX };
    let map = Op::Map { at, attributes: 1, largest: false, touched: false, contiguous: true };
    let (coalesce, protect) = (Op::Coalesce { at }, Op::Protect { at, attributes: 0 });
    let steps = [(map, false), (coalesce, true), (protect, false)];
    let steps = steps.map(|(op, later)| Step { op, who: 0, later });
    let mut dice = Dice(9);
    for _ in 0..times(4000) {
        let unit = dice.any();
        survive::<Toy<3, 2, 1>>(0..64, 64, unit, &steps);
        let mut machine = Machine::<Toy<3, 2, 1>>::new(0..64, 64, unit).among_cpus();
        steps.iter().for_each(|step| machine.run(step));
        machine.end();
    }
}
