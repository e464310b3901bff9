//! Every short sequence of operations on a space of 16 pages.

use hectare_core::Permissions;
use hectare_paging::Attributes;
use hectare_paging::format::Toy;
use hectare_paging::table::MapOptions;

use super::world::World;

type Small = Toy<2, 2, 0>;

/// Whatever is asked of three calls with these ends.
#[test]
fn every_three_calls_on_sixteen_pages() {
    let user = Permissions::READ | Permissions::WRITE | Permissions::USER;
    let ranges = [(0, 16), (0, 4), (4, 8), (2, 4), (5, 1), (3, 10), (15, 1), (12, 4)];
    let call = |world: &mut World<Small>, which: usize| {
        let (first, count) = ranges[which % ranges.len()];
        match which / ranges.len() {
            0 => world.failing(|world| {
                world.map(first, 0x40 + first, count, Attributes::new(user), MapOptions::DEFAULT)
            }),
            1 => world
                .failing(|world| world.map(first, 0x81, count, Attributes::new(user), MapOptions::DEFAULT)),
            2 => world.failing(|world| world.unmap(first, count)),
            3 => world.failing(|world| world.protect(first, count, Permissions::READ)),
            _ => world.failing(|world| world.forget(first, count)),
        }
    };
    let calls = 5 * ranges.len();
    for one in 0..2 * ranges.len() {
        for two in 0..calls {
            for three in 0..calls {
                let mut world = World::<Small>::new(6);
                for which in [one, two, three] {
                    let _ = call(&mut world, which);
                    world.check(0..16);
                }
                world.destroy();
            }
        }
    }
}

/// Every move of every range of 16 pages, out of every layout that two calls make.
#[test]
fn every_move_on_sixteen_pages() {
    let user = Permissions::READ | Permissions::WRITE | Permissions::USER;
    let layouts = [(0, 16, 0x40), (0, 4, 0x40), (4, 8, 0x44), (2, 4, 0x81), (5, 1, 0x45), (12, 4, 0x4C)];
    for one in layouts {
        for two in layouts {
            for (first, count) in (0..16).flat_map(|first| (1..=16 - first).map(move |count| (first, count)))
            {
                for to in 0..=16 - count {
                    let mut world = World::<Small>::new(9);
                    for (first, count, frame) in [one, two] {
                        let _ = world.map(first, frame, count, Attributes::new(user), MapOptions::DEFAULT);
                    }
                    world.access(one.0, true);
                    world.access(two.0 + two.1 - 1, false);
                    let taken = world.model.range(to..to + count).next().is_some();
                    let overlap = first < to + count && to < first + count;
                    let moved = world.failing(|world| world.remap(first, count, to));
                    assert_eq!(
                        moved.is_err(),
                        taken || overlap,
                        "{one:?} {two:?}: {count} of {first} to {to}"
                    );
                    world.check(0..16);
                    world.destroy();
                }
            }
        }
    }
}
