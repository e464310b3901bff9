//! Every format: what is encoded decodes to the same, runs count up, bits stand where the manuals put them.

use hectare_core::{Permissions, PhysAddr, VirtAddr};
use hectare_paging::format::{Toy, X86_64};
use hectare_paging::{Attributes, Decoded, Entry, Format, MemoryType, Touched};
use proptest::prelude::*;

fn attributes() -> impl Strategy<Value = Attributes> {
    let memory = prop::sample::select(&[
        MemoryType::WriteBack,
        MemoryType::WriteThrough,
        MemoryType::WriteCombining,
        MemoryType::Uncached,
        MemoryType::Device,
        MemoryType::DeviceStrict,
    ]);
    (0_u8..16, memory, any::<bool>(), any::<u16>()).prop_map(|(rights, memory, global, software)| {
        Attributes { permissions: Permissions::from_bits_truncate(rights), memory, global, software }
    })
}

fn round_trip<F: Format>() {
    let touched = (any::<bool>(), any::<bool>()).prop_map(|(accessed, dirty)| Touched { accessed, dirty });
    let case = (0..F::LEVELS, any::<u64>(), attributes(), attributes(), touched, any::<u64>());
    proptest!(|((level, address, wanted, other, touched, state) in case)| {
        let size = F::leaf_size(level);
        let address = PhysAddr::new(address % (1 << F::PHYSICAL_BITS)).align_down(size);
        let attributes = F::nearest(wanted);
        prop_assert!(attributes.permissions.contains(wanted.permissions));
        prop_assert_eq!(F::nearest(attributes), attributes);
        match F::leaf(address, attributes, touched, level) {
            Err(error) => prop_assert!(!F::has_leaves(level), "{error}"),
            Ok(entry) => {
                let leaf = Decoded::Leaf { address, attributes, touched, contiguous: false };
                prop_assert_eq!(F::decode(entry, level, 0), leaf);
                let changed = F::nearest(other);
                let edited = F::apply(entry, F::edit(changed, level).unwrap());
                prop_assert_eq!(edited, F::leaf(address, changed, touched, level).unwrap());
                if let Some(next) = address.checked_add(size.bytes()).filter(|a| a.value() >> F::PHYSICAL_BITS == 0) {
                    prop_assert_eq!(entry.plus(F::stride(level)), F::leaf(next, attributes, touched, level).unwrap());
                }
            }
        }
        let table = address.align_down(F::PAGE);
        match F::table(table, level) {
            Err(_) => prop_assert_eq!(level, 0),
            Ok(entry) => prop_assert_eq!(F::decode(entry, level, 0), Decoded::Table { address: table }),
        }
        let state = state >> (64 - F::ABSENT_BITS);
        prop_assert_eq!(F::decode(F::absent(state).unwrap(), level, 0), Decoded::Absent { state });
        prop_assert_eq!(F::decode(F::Entry::ZERO, level, 0), Decoded::Absent { state: 0 });
    });
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    round_trip::<X86_64<4>>();
    round_trip::<X86_64<5>>();
    round_trip::<Toy<2, 2, 0>>();
    round_trip::<Toy<3, 1, 1>>();
}

#[test]
fn canonical_addresses_are_accepted() {
    let at = VirtAddr::new;
    type X64 = X86_64<4>;
    assert!(X64::accepts(at(0x7FFF_FFFF_FFFF)) && !X64::accepts(at(0x8000_0000_0000)));
    assert!(X64::accepts(at(0xFFFF_8000_0000_0000)) && !X64::accepts(at(0xFFFF_7FFF_FFFF_FFFF)));
    assert!(
        X86_64::<5>::accepts(at(0x00FF_FFFF_FFFF_FFFF)) && !X86_64::<5>::accepts(at(0x0100_0000_0000_0000))
    );
    assert!(X64::accepts_range(at(0xFFFF_8000_0000_0000), at(u64::MAX)));
    assert!(!X64::accepts_range(at(0), at(u64::MAX)), "over the hole");
    assert!(!X64::accepts_range(at(1), at(0)));
    assert!(Toy::<2, 2, 0>::accepts_range(at(0), at(0xFFFF)) && !Toy::<2, 2, 0>::accepts(at(0x1_0000)));
}
