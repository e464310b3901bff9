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
