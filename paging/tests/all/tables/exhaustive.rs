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
