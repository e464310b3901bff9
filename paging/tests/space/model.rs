//! Address spaces beside a model without tables: random operations of several processes, with memory that runs out.

use hectare_paging::format::{AArch64, Sv39, Toy, X86_64};
use hectare_paging::space::HugePages;
use hectare_testkit::drive::drive;
use hectare_testkit::op::{VmOp, decode_all, noise, vm};
use proptest::prelude::*;

use crate::processes::{SPACE, model};

fn huge() -> impl Strategy<Value = HugePages> {
    prop_oneof![Just(HugePages::Never), Just(HugePages::Advised), Just(HugePages::Always)]
}

/// A case runs four machines: a quarter of the usual number.
fn quarter() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: (usual.cases / 4).max(1), ..usual }
}

proptest! {
    #![proptest_config(quarter())]
    #[test]
    fn several_processes_read_what_they_wrote(
        ops in prop::collection::vec(vm::strategy(SPACE as u16), 1..250),
        zero: bool, around in prop_oneof![Just(1_u64), Just(4), Just(16)], huge in huge(), down: bool,
    ) {
        let choice = (zero, around, huge, down);
        let toy = model::<Toy<3, 3, 0>, _>(2400, choice, |model| drive(model, ops.clone(), 7));
        prop_assert_eq!(toy.map(|_| ()), Ok(()));
        let x86 = model::<X86_64<4>, _>(2400, choice, |model| drive(model, ops.clone(), 31));
        prop_assert_eq!(x86.map(|_| ()), Ok(()));
        let arm = model::<AArch64<12>, _>(2400, choice, |model| drive(model, ops.clone(), 31));
        prop_assert_eq!(arm.map(|_| ()), Ok(()));
        let riscv = model::<Sv39, _>(2400, choice, |model| drive(model, ops, 31));
        prop_assert_eq!(riscv.map(|_| ()), Ok(()));
    }
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_hundred_thousand_operations_with_little_memory() {
    let mut counts = (0, 0, 0);
    for (seed, choice) in (1..).zip([
        (true, 16, HugePages::Always, true),
        (false, 1, HugePages::Never, false),
        (true, 4, HugePages::Advised, true),
        (false, 16, HugePages::Always, false),
    ]) {
        let bytes = noise(seed, 250_000);
        let ops: Vec<VmOp> = decode_all(&bytes, |bytes| VmOp::decode(bytes, SPACE as u16)).collect();
        assert!(ops.len() > 25_000, "{}", ops.len());
        let found = model::<Toy<3, 3, 0>, _>(400, choice, |model| drive(model, ops, 997));
        let found = found.unwrap_or_else(|failure| panic!("{failure}"));
        counts = (counts.0 + found.allocated, counts.1 + found.refused, counts.2 + found.freed);
    }
    assert!(counts.0 > 5_000 && counts.1 > 500 && counts.2 > 500, "{counts:?}");
}

#[test]
fn a_request_is_refused_at_every_point_and_nothing_is_lost() {
    use hectare_testkit::op::vm::{What, Where};
    let map = |first, count, place, what| VmOp::Map { process: 0, first, count, rights: 3, place, what };
    let write = |process, page, value| VmOp::Write { process, page, cell: 0, value };
    let script = [
        map(0, 40, Where::Fixed, What::Anonymous),
        map(64, 32, Where::Fixed, What::Huge),
        map(128, 16, Where::Fixed, What::Object { id: 0, offset: 2, shared: false }),
        map(160, 16, Where::Fixed, What::Object { id: 0, offset: 2, shared: true }),
        write(0, 3, 1),
        write(0, 66, 2),
        write(0, 130, 3),
        write(0, 163, 4),
        VmOp::Brk { process: 0, pages: 9 },
        write(0, SPACE as u16 + 3, 5),
        VmOp::Evict { process: 0, page: 3 },
        VmOp::Fork { process: 0, child: 1 },
        write(1, 3, 6),
        write(0, 66, 7),
        write(1, 67, 8),
        VmOp::Protect { process: 1, first: 66, count: 3, rights: 1 },
        VmOp::Remap { process: 1, old: 64, old_count: 32, new_count: 40, to: Some(200) },
        VmOp::Unmap { process: 0, first: 65, count: 2 },
        map(2, 2, Where::Fixed, What::Anonymous),
        VmOp::Advise { process: 1, first: 0, count: 20, advice: vm::Advice::DontNeed },
        VmOp::Read { process: 1, page: 131, cell: 1 },
        write(1, 204, 9),
        VmOp::Exit { process: 0 },
        write(1, 205, 10),
    ];
    for granted in 0..120 {
        let starve = VmOp::Starve { after: Some(granted) };
        let ops = [starve].into_iter().chain(script).chain([VmOp::Starve { after: None }]).chain(script);
        for choice in [(true, 4, HugePages::Advised, true), (false, 1, HugePages::Always, false)] {
            let toy = model::<Toy<3, 3, 0>, _>(2400, choice, |model| drive(model, ops.clone(), 1));
            assert_eq!(toy.map(|_| ()), Ok(()), "{granted} requests granted");
        }
    }
}
