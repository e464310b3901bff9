//! Decoding is total and loses nothing, and limits cover exactly what they say.
use hectare_segmentation::x86::{Descriptor, GateKind, Limit, LongGate, LongSystem, Ring, Selector, audit};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn every_number_encodes_back(raw: u64) {
        prop_assert_eq!(Descriptor::decode(raw).encode(), raw);
    }

    #[test]
    fn long_forms_encode_back(offset: u64, selector: u16, ring in 0_u8..4, present: bool, stack in 0_u8..8, kind in 0_usize..3) {
        let kind = [GateKind::Call, GateKind::Interrupt, GateKind::Trap][kind];
        let gate = LongGate { offset, selector: Selector::from_bits(selector), kind, ring: Ring::from_bits(ring), present, stack };
        prop_assert_eq!(gate.encode().and_then(LongGate::decode), Some(gate));
    }

    #[test]
    fn long_decoding_never_invents(low: u64, high: u64) {
        if let Some(system) = LongSystem::decode([low, high]) {
            let again = system.encode();
            prop_assert_eq!(LongSystem::decode(again), Some(system));
            prop_assert_eq!((again[0] ^ low) & !(3 << 53), 0, "only reserved bits may change");
        }
    }

    #[test]
    fn any_table_can_be_audited(entries in prop::collection::vec(any::<u64>(), 0..12), global: bool, long: bool) {
        for finding in audit(&entries, global, long) {
            prop_assert_eq!(entries[finding.index], finding.raw);
        }
    }
}

/// All 2^21 limits.
#[test]
fn every_limit() {
    for pages in [false, true] {
        for field in 0..1 << 20 {
            let limit = Limit::new(field, pages).expect("20 bits");
            let last = if pages { u64::from(field) * 4096 + 4095 } else { u64::from(field) };
            assert_eq!(u64::from(limit.last()), last);
            let same = Limit::from_last(limit.last()).expect("it exists");
            assert_eq!(same.last(), limit.last());
            assert_eq!(Limit::covering(limit.last()).last(), limit.last());
        }
        assert_eq!(Limit::new(1 << 20, pages), None);
    }
    assert_eq!(Limit::from_last(0x10_0000), None);
    assert_eq!(Limit::covering(0x10_0000).last(), 0x10_0FFF);
}
