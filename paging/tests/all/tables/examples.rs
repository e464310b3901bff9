//! The chapter's examples.

use hectare_core::{Access, Page, Permissions, PhysAddr, Translate, VirtAddr};
use hectare_paging::format::{AArch64, Ept, Pae, Sv39, Toy, X86, X86_64};
use hectare_paging::table::{FaultCause, MapOptions};
use hectare_paging::{Attributes, Fresh, PageFault};

use super::world::{World, frames};

type X = X86_64<4>;

fn user(write: bool) -> Attributes {
    let rights = Permissions::READ | Permissions::USER;
    Attributes::new(if write { rights | Permissions::WRITE } else { rights })
}

#[test]
fn e03_a_forbidden_access_names_address_access_and_cause() {
    let mut world = World::<X>::new(8);
    let text = Permissions::READ | Permissions::EXECUTE | Permissions::USER;
    let kernel = Permissions::READ | Permissions::WRITE;
    world.map(0x400, 0x10, 1, Attributes::new(text), MapOptions::DEFAULT).unwrap();
    world.map(0x401, 0x20, 1, user(true), MapOptions::DEFAULT).unwrap();
    world.map(0x402, 0x30, 1, Attributes::new(kernel), MapOptions::DEFAULT).unwrap();
    let refused = |address: u64, access| {
        let fault: PageFault = world.table.translate(address.into(), access).unwrap_err();
        assert_eq!((fault.address, fault.access), (VirtAddr::new(address), access));
        (fault.cause, fault.to_string())
    };
    let (cause, text_of) = refused(0x40_0123, Access::user_write());
    assert_eq!(cause, FaultCause::Forbidden { permissions: text });
    assert_eq!(text_of, "user write at 0x400123: the page permits r-x");
    let (cause, _) = refused(0x40_1000, Access::user_execute());
    assert_eq!(cause, FaultCause::Forbidden { permissions: user(true).permissions });
    let (cause, text_of) = refused(0x40_2FFF, Access::user_read());
    assert_eq!(cause, FaultCause::Forbidden { permissions: kernel });
    assert_eq!(text_of, "user read at 0x402fff: the page permits the kernel rw-");
    let (cause, _) = refused(0x40_3000, Access::kernel_read());
    assert_eq!(cause, FaultCause::NotPresent { level: 0 });
    let (cause, _) = refused(0x8000_0000_0000, Access::kernel_read());
    assert_eq!(cause, FaultCause::Reach);
    let hit = world.table.translate(VirtAddr::new(0x40_0123), Access::user_execute()).unwrap();
    assert_eq!((hit.address, hit.length.get()), (PhysAddr::new(0x10_123), 0x1000 - 0x123));
}

#[test]
fn e13_pages_3_0_5_2_in_frames_1_2_3_5() {
    let mut world = World::<X>::new(8);
    for (page, frame) in [(3, 1), (0, 2), (5, 3), (2, 5)] {
        world.map(page, frame, 1, user(true), MapOptions::DEFAULT).unwrap();
    }
    for page in 0..8 {
        let address = Page::new(page).start(hectare_core::PageSize::SIZE_4K).unwrap();
        let found = world.table.find(address).map(|hit| hit.address.value() >> 12);
        let expected = [Some(2), None, Some(5), Some(1), None, Some(3), None, None];
        assert_eq!(found, expected[usize::try_from(page).unwrap()]);
    }
    world.check(0..8);
}

#[test]
fn e14_one_huge_page_translates_as_512_small_ones_with_a_table_less() {
    let (mut huge, mut small) = (World::<X>::new(8), World::<X>::new(8));
    huge.map(0x200, 0x8000, 512, user(true), MapOptions::DEFAULT).unwrap();
    small.map(0x200, 0x8000, 512, user(true), MapOptions::BASE_PAGES).unwrap();
    for offset in (0..0x20_0000).step_by(7) {
        let address = VirtAddr::new(0x20_0000 + offset);
        let (one, two) = (huge.table.find(address).unwrap(), small.table.find(address).unwrap());
        assert_eq!(one.address, two.address);
        assert_eq!(one.attributes(), two.attributes());
    }
    assert_eq!(huge.table.tables() + 1, small.table.tables());
    let _ = frames(1, 1);
}

#[test]
fn a_token_has_bytes_only_where_something_is_owed() {
    assert_eq!(size_of::<Fresh<X>>(), 0);
    assert_eq!(size_of::<Fresh<X86>>() + size_of::<Fresh<Ept>>() + size_of::<Fresh<Toy<2, 2, 0>>>(), 0);
    assert!(size_of::<Fresh<Pae>>() != 0, "its root is read when it is loaded");
    assert!(size_of::<Fresh<Sv39>>() != 0 && size_of::<Fresh<AArch64<12>>>() != 0);
}
