//! Covering exactly the bytes of a range with the fewest regions.
//!
//! ```text
//!  additive   ├──────────── wanted ────────────┤
//!             ╞═1═╪════2════╪════════3═════════╡        each region inside what is wanted
//!  layered  ╞═════════════════1═════════════════════╡   one may stick out where nobody else has rights,
//!           ╞2╡                                ╞═3══╡   and what sticks out is taken away by regions that win
//! ```
//! The farthest-reaching region at each step is the optimal cover of an interval by intervals: any other cover's k-th
//! region ends no later than the k-th one here.
#![forbid(unsafe_code)]

use hectare_core::Extent;

use super::RegionFormat;

/// What a region of a cover does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Gives rights.
    Allow,
    /// Takes them away again: it must win over all that allow, so it gets a higher (PMSAv7) or lower (PMP) number.
    Deny,
}

/// Up to `K` regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover<const K: usize> {
    regions: [Option<(Layer, Extent)>; K],
    count: usize,
}

impl<const K: usize> Cover<K> {
    const EMPTY: Self = Self { regions: [None; K], count: 0 };

    /// How many regions it takes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether it takes none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The regions: all that allow, in ascending order, then those that deny.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, Extent)> + '_ {
        self.regions.iter().flatten().copied()
    }

    fn push(&mut self, layer: Layer, region: Extent) -> Option<()> {
        *self.regions.get_mut(self.count)? = Some((layer, region));
        self.count += 1;
        Some(())
    }

    fn extend(&mut self, format: &impl RegionFormat, layer: Layer, wanted: Option<Extent>) -> Option<()> {
        let Some(wanted) = wanted else { return Some(()) };
        let mut at = wanted.start();
        while at < wanted.end() {
            let region = format.reach(wanted, at)?;
            self.push(layer, region)?;
            at = region.end();
        }
        Some(())
    }
}

/// The fewest regions inside `wanted` that cover it, at most `K`; `None` iff that takes more, or no regions do.
/// O(regions × address bits).
///
/// Regions may overlap each other: a format in which an overlap faults (PMSAv8) needs one region only.
#[must_use]
pub fn cover<const K: usize>(format: &impl RegionFormat, wanted: Extent) -> Option<Cover<K>> {
    let mut cover = Cover::EMPTY;
    cover.extend(format, Layer::Allow, Some(wanted))?;
    Some(cover)
}

/// As [`cover`], or with fewer regions by allowing more and denying the rest, for formats in which one of two regions
/// wins. `outer` holds `wanted` and is what may be allowed and denied again: nobody else may have rights in it.
///
/// The fewest of all covers whose allowing part ends at `wanted`'s ends, at `outer`'s, or at multiples of powers of two
/// next to `wanted`. O(address bits^3).
///
/// ```
/// use hectare_core::Extent;
/// use hectare_segmentation::protect::{Layer, Pmp, cover, cover_layered};
///
/// // All of a megabyte of RAM but its first 4 KiB, which are the kernel's: powers of two alone take eight.
/// let ram = Extent::new(0x8000_0000, 0x10_0000).expect("not empty");
/// let program = Extent::new(0x8000_1000, 0xF_F000).expect("not empty");
/// assert_eq!(cover::<8>(&Pmp::RV32, program).map(|cover| cover.len()), Some(8));
///
/// // With one that allows too much, and one that takes back what is too much, it is two.
/// let layers = cover_layered::<8>(&Pmp::RV32, program, ram).expect("fewer than eight");
/// let first = Extent::new(0x8000_0000, 0x1000).expect("not empty");
/// assert!(layers.iter().eq([(Layer::Allow, ram), (Layer::Deny, first)]));
/// ```
#[must_use]
pub fn cover_layered<const K: usize>(
    format: &impl RegionFormat,
    wanted: Extent,
    outer: Extent,
) -> Option<Cover<K>> {
    let mut best = cover::<K>(format, wanted);
    if !outer.contains(wanted) {
        return best;
    }
    for low in 0..64 {
        let start = wanted.start() >> low << low;
        if start < outer.start() {
            break;
        }
        for high in 0..64 {
            let Some(end) = super::align_up(wanted.end(), high).filter(|&end| end <= outer.end()) else {
                break;
            };
            let try_this = || {
                let mut cover = Cover::EMPTY;
                cover.extend(format, Layer::Allow, Extent::new(start, end - start))?;
                cover.extend(format, Layer::Deny, Extent::new(start, wanted.start() - start))?;
                cover.extend(format, Layer::Deny, Extent::new(wanted.end(), end - wanted.end()))?;
                Some(cover)
            };
            if let Some(found) =
                try_this().filter(|found| best.is_none_or(|best: Cover<K>| found.count < best.count))
            {
                best = Some(found);
            }
        }
    }
    best
}
