//! Random operations on a window of pages.
use hectare_core::Permissions;
use hectare_paging::{Attributes, MapOptions, Touched};

use crate::arch::Machine;
use crate::random::Random;

/// Pages of the window.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub first: usize,
    pub count: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// To the frames from `frame` on.
    Map {
        at: At,
        frame: u32,
        attributes: Attributes,
        options: MapOptions,
    },
    Unmap(At),
    Forget(At),
    Protect(At, Permissions),
    /// Other software bits, rights kept.
    Update(At, u16),
    Harvest(At, Touched),
    Coalesce(At),
    Remap(At, usize),
    Replace {
        page: usize,
        frame: u32,
        attributes: Attributes,
        touched: Touched,
    },
    /// Into the other table, as a fork does.
    Copy(At, bool),
}

impl Operation {
    pub fn at(&self) -> At {
        match *self {
            Self::Map { at, .. }
            | Self::Unmap(at)
            | Self::Forget(at)
            | Self::Protect(at, _)
            | Self::Update(at, _)
            | Self::Harvest(at, _)
            | Self::Coalesce(at)
            | Self::Remap(at, _)
            | Self::Copy(at, _) => at,
            Self::Replace { page, .. } => At { first: page, count: 1 },
        }
    }
}

/// Pages of a table of level 0; the window is three such, and begins in the middle of one.
pub const fn table<F: Machine>() -> usize {
    1 << F::INDEX_BITS[0]
}

pub const fn window<F: Machine>() -> usize {
    3 * table::<F>()
}

fn coin(random: &mut Random) -> bool {
    random.below(2) == 0
}

pub fn below(random: &mut Random, limit: usize) -> usize {
    random.below(limit as u64) as usize
}

/// Around the ends of tables, at multiples of contiguous runs, or anywhere.
fn page<F: Machine>(random: &mut Random) -> usize {
    let table = table::<F>();
    let border = table / 2 + below(random, 3) * table;
    let page = match random.below(5) {
        0 => border,
        1 | 2 => (border + below(random, 80)).saturating_sub(40),
        3 => below(random, window::<F>()) & !([15, 31, 127][below(random, 3)]),
        _ => below(random, window::<F>()),
    };
    page.min(window::<F>() - 1)
}

fn at<F: Machine>(random: &mut Random) -> At {
    let first = page::<F>(random);
    let count = match random.below(8) {
        0..3 => 1 + below(random, 3),
        3 | 4 => 1 + below(random, 40),
        5 => [16, 32, 128, 160][below(random, 4)],
        6 => table::<F>(),
        _ => 1 + below(random, window::<F>()),
    };
    At { first, count: count.min(window::<F>() - first) }
}

fn permissions(random: &mut Random) -> Permissions {
    let (read, write, execute) = (Permissions::READ, Permissions::WRITE, Permissions::EXECUTE);
    let rights =
        [read, read | write, read | write, read | execute, read | write | execute, execute][below(random, 6)];
    if random.below(5) == 0 { rights | Permissions::USER } else { rights }
}

/// What the format can say of any rights.
fn attributes<F: Machine>(random: &mut Random) -> Attributes {
    let software = random.below(2) as u16;
    let any = Attributes::new(permissions(random)).with_software(software);
    F::nearest(any.with_global(random.below(4) == 0))
}

fn touched(random: &mut Random) -> Touched {
    [Touched::NO, Touched::NO, Touched::ACCESSED, Touched::DIRTY][below(random, 4)]
}

fn map<F: Machine>(random: &mut Random, free: impl Fn(usize) -> bool) -> Operation {
    let mut at = at::<F>(random);
    if random.below(5) == 0 {
        // A large leaf, or room for one.
        let table = table::<F>();
        at = At { first: table / 2 + table * below(random, 2), count: table };
        if !(at.first..at.first + table).all(&free) {
            return Operation::Unmap(at);
        }
    } else if random.below(6) != 0 {
        // Mostly where there is room.
        let end = at.first + at.count;
        let first = (at.first..end).find(|page| free(*page)).unwrap_or(at.first);
        let last = (first..end).find(|page| !free(*page)).unwrap_or(end);
        at = At { first, count: (last - first).max(1) };
    }
    let table = table::<F>();
    // Mostly frames that lie as the pages do, so that large leaves fit.
    let alike = (at.first + table / 2) % table + if coin(random) { table } else { 0 };
    let frame = if random.below(4) == 0 { below(random, 2 * table) } else { alike };
    at.count = at.count.min(2 * table - frame);
    let options = MapOptions {
        largest: if random.below(4) == 0 { Some(F::PAGE) } else { None },
        touched: touched(random),
        contiguous: random.below(4) != 0,
    };
    Operation::Map { at, frame: frame as u32, attributes: attributes::<F>(random), options }
}

/// Any operation; `free` says whether a page of the window is.
pub fn any<F: Machine>(random: &mut Random, free: impl Fn(usize) -> bool) -> Operation {
    let at = at::<F>(random);
    match random.below(30) {
        0..12 => map::<F>(random, free),
        12 | 13 => Operation::Unmap(at),
        14 => Operation::Forget(at),
        15..19 => Operation::Protect(at, F::nearest(Attributes::new(permissions(random))).permissions),
        19 => Operation::Update(at, random.below(4) as u16),
        20..23 => Operation::Harvest(at, Touched { accessed: coin(random), dirty: coin(random) }),
        23 => Operation::Coalesce(at),
        24 => Operation::Coalesce(At { first: 0, count: window::<F>() }),
        25 | 26 => {
            let to = page::<F>(random);
            let count = at.count.min(window::<F>() - to);
            Operation::Remap(At { count, ..at }, to)
        }
        27 | 28 => Operation::Replace {
            page: page::<F>(random),
            frame: below(random, 2 * table::<F>()) as u32,
            attributes: attributes::<F>(random),
            touched: touched(random),
        },
        _ => Operation::Copy(at, coin(random)),
    }
}
