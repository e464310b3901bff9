//! What went wrong in other page-table code, as a table of tests.
//!
//! | whose | defect | here |
//! |---|---|---|
//! | x86_64 0.15.5, 0.16-rc | the error of a map over a mapping names the new frame | `the_error_names_what_is_there` |
//! | x86_64 | a 2 MiB map over an emptied 4 KiB table is refused | `an_emptied_table_is_no_obstacle` |
//! | x86_64 0.15.5 (#613), mycelium #547 | a 4 KiB leaf with the PAT bit is taken for huge; bit 12 of a huge one for an address | `write_combining_pages_of_each_size` |
//! | x86_64 | changing flags clears accessed and dirty bits | `rights_change_and_bits_stay` |
//! | x86_64 | a failed map widens the rights of upper levels | `a_failed_map_changes_no_upper_level` |
//! | page_table_multiarch 0.6.2 | changing or unmapping 4 KiB of a huge page panics, or takes all of it | `part_of_a_huge_page` |
//! | page-table-generic 0.9.1 | an unmap of 4 KiB drops the whole huge page | `part_of_a_huge_page` |
//! | page_table_multiarch | a map that meets a mapping leaves the part before it | `a_conflict_at_the_end_leaves_nothing` |
//! | page_table_multiarch, tgoskits #2261 | a hole costs a step for each page | `a_hole_of_a_tebibyte` |
//! | page_table_multiarch | an address that is not canonical aliases one that is | `addresses_out_of_reach` |
//! | page_table_multiarch, litebox #671 | tables are never freed | `every_random_sequence` (frames are counted) |
//! | aarch64-paging 0.12.2 | ends at 2^64 overflow | `the_last_page_of_the_address_space` |
//! | asterinas #3731 | a range of exactly one huge page | `exactly_one_huge_page` |
//! | uhyve #956 | contiguous marks on groups that are not aligned | `contiguous_runs_are_aligned_in_both_spaces` |
//! | zephyr #98344, #115708 | invalidations of 16 and 64 KiB pages name addresses in units of 4 KiB | `invalidations_count_in_pages_of_the_granule` |
//! | aarch64-paging 0.12.2, tgoskits #2008 | bits above the address pollute what an invalidation names | `invalidations_count_in_pages_of_the_granule` |
//! | aarch64-paging #95 | a table never becomes a block again | `exactly_one_huge_page` |
//! | litebox #848 | unmapped frames are used again before the flush | `hostile` (what was said of a frame holds until its token is paid) |
//! | x86_64 #554, redox rmm | huge entries are walked as tables; entries without rights panic | `part_of_a_huge_page` |

use hectare_core::{Page, PageSize, Permissions, PhysAddr, VirtAddr};
use hectare_paging::format::{AArch64, RiscV, X86_64, aarch64, riscv};
use hectare_paging::table::{MapOptions, TableError};
use hectare_paging::{Attributes, MemoryType, TableFormat, Touched};

use super::world::{World, frames, pages, read, tlb, walk};

type X = X86_64<4>;

fn user() -> Attributes {
    Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER)
}

#[test]
fn the_error_names_what_is_there() {
    let mut world = World::<X>::new(16);
    world.map(0x10, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    world.map(0x400, 0x800, 512, user(), MapOptions::DEFAULT).unwrap();
    let error = world.map(0x10, 2, 1, user(), MapOptions::DEFAULT).unwrap_err();
    let (address, existing) = (VirtAddr::new(0x10_000), PhysAddr::new(0x1000));
    assert_eq!(error, TableError::Mapped { address, existing });
    let error = world.map(0x3FF, 0x900, 5, user(), MapOptions::DEFAULT).unwrap_err();
    assert_eq!(
        error,
        TableError::Mapped { address: VirtAddr::new(0x40_0000), existing: PhysAddr::new(0x80_0000) }
    );
    let error = world.map(0x405, 0x900, 1, user(), MapOptions::DEFAULT).unwrap_err();
    assert_eq!(
        error,
        TableError::Mapped { address: VirtAddr::new(0x40_5000), existing: PhysAddr::new(0x80_5000) }
    );
}

#[test]
fn an_emptied_table_is_no_obstacle() {
    let mut world = World::<X>::new(16);
    world.map(0x400, 0x800, 512, user(), MapOptions::BASE_PAGES).unwrap();
    for page in 0..512 {
        world.unmap(0x400 + page, 1).unwrap();
    }
    world.map(0x400, 0x800, 512, user(), MapOptions::DEFAULT).unwrap();
    assert_eq!(world.table.find(VirtAddr::new(0x40_1000)).unwrap().leaf_size(), PageSize::SIZE_2M);
}

#[test]
fn write_combining_pages_of_each_size() {
    let mut world = World::<X>::new(16);
    let combining = user().with_memory(MemoryType::WriteCombining);
    world.map(0x10, 1, 1, combining, MapOptions::DEFAULT).unwrap();
    world.map(0x400, 0x800, 512, combining, MapOptions::DEFAULT).unwrap();
    world.map(0x4_0000, 0x8_0000, 1 << 18, combining, MapOptions::DEFAULT).unwrap();
    world.check([0x10, 0x400, 0x401, 0x5FF, 0x4_0000, 0x7_FFFF]);
    world.protect(0x401, 1, Permissions::READ).unwrap();
    world.protect(0x5_0001, 1, Permissions::READ).unwrap();
    world.check([0x400, 0x401, 0x402, 0x5_0000, 0x5_0001, 0x7_FFFF]);
}

#[test]
fn rights_change_and_bits_stay() {
    let mut world = World::<X>::new(16);
    world.map(0, 0x100, 1024, user(), MapOptions::DEFAULT).unwrap();
    for page in [1, 7, 600] {
        world.access(page, page != 7);
    }
    world.protect(0, 1024, Permissions::READ | Permissions::USER).unwrap();
    world.protect(0, 600, user().permissions).unwrap();
    world.check([1, 7, 600]);
    world.harvest(0, 1024, Touched::DIRTY).unwrap();
    world.check([1, 7, 600]);
}

#[test]
fn a_failed_map_changes_no_upper_level() {
    let mut world = World::<X>::new(16);
    world.map(0x10, 1, 1, Attributes::new(Permissions::READ), MapOptions::DEFAULT).unwrap();
    let before = world.bytes();
    world.map(0xF, 2, 2, user(), MapOptions::DEFAULT).unwrap_err();
    assert_eq!(world.bytes(), before);
}

#[test]
fn part_of_a_huge_page() {
    let mut world = World::<X>::new(16);
    world.map(0, 0, 1 << 19, user(), MapOptions::DEFAULT).unwrap();
    world.access(0x234, true);
    world.unmap(0x201, 1).unwrap();
    world.protect(0x300, 3, Permissions::READ).unwrap();
    world.protect(0x4_0000, 512, Permissions::READ).unwrap();
    world.check([0x200, 0x201, 0x202, 0x2FF, 0x300, 0x303, 0x3FF, 0x4_0000, 0x4_0200, 0x7_FFFF]);
    assert_eq!(world.table.find(VirtAddr::new(0x4000_0000)).unwrap().leaf_size(), PageSize::SIZE_2M);
    world.unmap(0, 1 << 19).unwrap();
    assert_eq!(world.table.tables(), 1);
}

#[test]
fn a_conflict_at_the_end_leaves_nothing() {
    let mut world = World::<X>::new(16);
    world.map(0x1000, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    let before = world.bytes();
    world.map(0x300, 0x900, 0xD01, user(), MapOptions::DEFAULT).unwrap_err();
    assert_eq!(world.bytes(), before);
    world.check([0x300, 0xFFF, 0x1000]);
}

#[test]
fn a_hole_of_a_tebibyte() {
    let mut world = World::<X>::new(16);
    world.map(0, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    world.map(1 << 30, 2, 1, user(), MapOptions::DEFAULT).unwrap();
    // A step for each page would be 2^30 of them, many times.
    for _ in 0..100 {
        world.protect(0, (1 << 30) + 1, Permissions::READ).unwrap();
        world.harvest(0, (1 << 30) + 1, Touched::DIRTY).unwrap();
        assert_eq!(world.table.runs(pages(1, 1 << 30)).unwrap().count(), 1);
    }
    world.unmap(0, (1 << 30) + 1).unwrap();
    world.check([0, 1 << 30]);
}

#[test]
fn addresses_out_of_reach() {
    let mut world = World::<X>::new(16);
    for (first, count) in [(0x9_0000_0000, 1), (0x7_FFFF_FFFF, 2), (0, 0x8_0000_0001), (u64::MAX - 1, 1)] {
        let range = |error| assert_eq!(error, TableError::Range { pages: pages(first, count) });
        range(
            world
                .table
                .map(Page::new(first), frames(1, count), user(), MapOptions::DEFAULT)
                .map(|fresh| fresh.later())
                .unwrap_err(),
        );
        range(world.table.unmap(pages(first, count), |_| {}).map(drop).unwrap_err());
        range(world.table.protect(pages(first, count), Permissions::READ).map(drop).unwrap_err());
    }
    assert!(world.table.find(VirtAddr::new(0x9000_0000_0000)).is_none());
    assert_eq!(world.table.tables(), 1);
}

#[test]
fn the_last_page_of_the_address_space() {
    let mut world = World::<X>::new(16);
    let last = 0xF_FFFF_FFFF_FFFF;
    world.map(last, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    world.map(last - 1023, 0x400, 1023, user(), MapOptions::DEFAULT).unwrap();
    world.check([last, last - 1, last - 1023, last - 1024]);
    world.protect(last - 600, 601, Permissions::READ).unwrap();
    let mut spans = vec![];
    let token = world.table.unmap(pages(last, 1), |_| {}).unwrap();
    spans.extend_from_slice(token.invalidation().spans);
    assert_eq!(spans[0].last(), VirtAddr::new(u64::MAX));
    world.finish(token);
    world.model.remove(&last);
    world.check([last, last - 1]);
    let mut upper = World::<AArch64<12, 48, { aarch64::UPPER }>>::new(16);
    upper.map(last, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    upper.unmap(last - 5, 6).unwrap();
    upper.check([last]);
}

#[test]
fn exactly_one_huge_page() {
    for options in [MapOptions::DEFAULT, MapOptions::BASE_PAGES] {
        let mut world = World::<X>::new(16);
        world.map(0x400, 0x800, 512, user(), options).unwrap();
        world.protect(0x400, 512, Permissions::READ).unwrap();
        world.harvest(0x400, 512, Touched::DIRTY).unwrap();
        world.coalesce(0x400, 512).unwrap();
        assert_eq!(world.table.find(VirtAddr::new(0x40_0000)).unwrap().leaf_size(), PageSize::SIZE_2M);
        world.check([0x3FF, 0x400, 0x5FF, 0x600]);
        world.unmap(0x400, 512).unwrap();
        world.check([0x3FF, 0x400, 0x5FF, 0x600]);
        world.destroy();
    }
}

/// Every group of a run's length that is whole and aligned in both spaces has the mark, and nothing else has.
fn marks_of<F: TableFormat>() {
    let run = 1_u64 << F::RUNS[0].unwrap().log2;
    let ends = [
        (run, run),
        (run, run + 1),
        (run + 1, run + 1),
        (run + run / 2, run / 2),
        (2 * run - 1, 5 * run - 1),
    ];
    for (page, frame) in ends {
        let count = 3 * run;
        let mut world = World::<F>::new(160);
        world.map(page, frame, count, F::nearest(user()), MapOptions::DEFAULT).unwrap();
        for at in page..page + count {
            let group = at & !(run - 1);
            let whole = group >= page && group + run <= page + count;
            let address = Page::new(at).start(F::PAGE).unwrap();
            let (place, level, memory) = walk::<F>(&world.window, world.table.root(), address).unwrap();
            let marked = F::is_contiguous(read::<F>(&world.window, place), level);
            assert_eq!(marked, whole && (page ^ frame) & (run - 1) == 0, "{} page {at:#x}", F::NAME);
            assert_eq!(memory.value(), (frame + (at - page)) << F::PAGE.log2());
        }
        // One page out of the middle: the others keep what they had, its group loses the mark.
        world.unmap(page + run + 3, 1).unwrap();
        world.check(page - 1..page + count + 1);
        world.destroy();
    }
}

#[test]
fn contiguous_runs_are_aligned_in_both_spaces() {
    marks_of::<AArch64<12>>();
    marks_of::<AArch64<14>>();
    marks_of::<AArch64<16>>();
    marks_of::<RiscV<3, { riscv::SVNAPOT }>>();
}

fn spans_of<F: TableFormat>() {
    let mut world = World::<F>::new(160);
    let first = u64::MAX >> F::PAGE.log2() >> 1 << 1;
    let count = 5;
    world.map(first - count, 0x40, count, F::nearest(user()), MapOptions::DEFAULT).unwrap();
    let token = world.table.unmap(pages(first - count, count), |_| {}).unwrap();
    let [span] = token.invalidation().spans else { panic!("one span, not {token:?}") };
    let address = Page::new(first - count).start(F::PAGE).unwrap();
    assert_eq!((span.first(), span.count(), span.stride()), (address, count, F::PAGE));
    assert_eq!(span.last().value(), address.value() + (count << F::PAGE.log2()) - 1);
    world.finish(token);
}

#[test]
fn invalidations_count_in_pages_of_the_granule() {
    spans_of::<AArch64<12, 48, { aarch64::UPPER }>>();
    spans_of::<AArch64<14, 48, { aarch64::UPPER }>>();
    spans_of::<AArch64<16, 48, { aarch64::UPPER }>>();
    spans_of::<X>();
}

#[test]
fn a_token_of_another_table_is_given_back() {
    let (mut one, mut two) = (World::<X>::new(16), World::<X>::new(24));
    two.map(0, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    // The second arena begins at the same address, so let the roots differ.
    let other = hectare_paging::PageTable::<X, _, _>::new(
        two.window.clone(),
        hectare_testkit::stand_in::PlainFrames::<12>::new(0x105, 4),
    );
    let other = other.unwrap();
    let token = two.table.unmap(pages(0, 1), |_| {}).unwrap();
    assert!(token.owns_tables() && token.is_needed());
    let mut none = other.token();
    let token = other.merge(&mut none, token).unwrap_err();
    two.table.finish(token, &tlb()).unwrap();
    one.map(0, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    let first = one.table.unmap(pages(0, 1), |_| {}).unwrap();
    one.table.map(Page::new(0), frames(1, 1), user(), MapOptions::DEFAULT).unwrap().later();
    let second = one.table.unmap(pages(0, 1), |_| {}).unwrap();
    let mut both = one.table.token();
    one.table.merge(&mut both, first).unwrap();
    one.table.merge(&mut both, second).unwrap();
    one.finish(both);
    one.model.clear();
    one.check([0]);
}

/// Ours: the copy of a hole was refused where the other side has a huge page, if our hole is part of a table.
#[test]
fn a_hole_is_copied_over_a_huge_page() {
    let (mut one, mut two) = (World::<X>::new(16), World::<X>::new(16));
    one.map(0x210, 1, 1, user(), MapOptions::DEFAULT).unwrap();
    two.map(0x200, 0x400, 512, user(), MapOptions::DEFAULT).unwrap();
    one.copy(&mut two, 0x220, 8, true).unwrap();
    let error = one.copy(&mut two, 0x20F, 8, true).unwrap_err();
    let (address, existing) = (VirtAddr::new(0x20_F000), PhysAddr::new(0x40_F000));
    assert_eq!(error, TableError::Mapped { address, existing });
    one.check([0x20F, 0x210]);
    two.check([0x200, 0x210, 0x220]);
}

/// Ours: where a page is mapped below a table, and a huge page would go, the error spoke of software state.
#[test]
fn a_refused_copy_names_what_is_mapped() {
    let (mut one, mut two) = (World::<X>::new(16), World::<X>::new(16));
    one.map(0x200, 0x400, 512, user(), MapOptions::DEFAULT).unwrap();
    two.map(0x203, 7, 1, user(), MapOptions::DEFAULT).unwrap();
    let error = one.copy(&mut two, 0, 0x400, true).unwrap_err();
    let (address, existing) = (VirtAddr::new(0x20_3000), PhysAddr::new(0x7000));
    assert_eq!(error, TableError::Mapped { address, existing });
    one.check([0x200, 0x203]);
    two.check([0x203, 0x204]);
}
