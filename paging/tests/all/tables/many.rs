//! Many addresses translated at once stand for what each stands for alone.

use hectare_core::{Permissions, VirtAddr};
use hectare_paging::format::{AArch64, Pae, Sv48, X86_64};
use hectare_paging::{Attributes, MapOptions, TableFormat};

use super::world::World;

/// Base pages, huge pages, holes, an address out of reach; as many at a time as a caller likes.
fn many<F: TableFormat>() {
    let mut world = World::<F>::new(64);
    let user = Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER);
    world.map(0x10, 0x100, 40, user, MapOptions::BASE_PAGES).unwrap();
    world.map(0x4_0000, 0x4_0000, 1 << 11, user, MapOptions::DEFAULT).unwrap();
    let pages = [0, 0x10, 0x11, 0x37, 0x38, 0x4_0000, 0x4_0233, 0x4_0600, 0x4_0800, 1 << 50];
    let addresses: Vec<VirtAddr> = (0..100_u64)
        .map(|nth| VirtAddr::new((pages[nth as usize % pages.len()] << F::PAGE.log2()) + nth * 8))
        .collect();
    let alone: Vec<_> = addresses.iter().map(|address| world.table.find(*address)).collect();
    assert!(alone.iter().flatten().count() > 50, "some are mapped");
    for count in [0, 1, 7, 31, 32, 33, 64, 100] {
        // What was in the list before does not stay.
        let mut hits = vec![alone[1]; count];
        world.table.find_many(&addresses, &mut hits);
        assert_eq!(hits, alone[..count]);
        let mut hits = vec![alone[1]; addresses.len()];
        world.table.find_many(&addresses[..count], &mut hits);
        assert_eq!(hits[..count], alone[..count]);
        assert!(hits[count..].iter().all(|hit| *hit == alone[1]), "the rest stays as it was");
    }
}

#[test]
fn many_at_once_are_what_each_is_alone() {
    many::<X86_64<4>>();
    many::<X86_64<5>>();
    many::<Pae>();
    many::<Sv48>();
    many::<AArch64<14>>();
}
