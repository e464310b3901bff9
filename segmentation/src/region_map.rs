//! Which region holds an address: the memory map of a guest, of a bus, of a process.
//!
//! ```text
//!  starts    0x0000   0x4000            0x9000            sorted, apart from the rest: a search reads only these
//!  regions  ┌──────┐ ┌──────────┐      ┌─────┐
//!           └──────┘ └──────────┘      └─────┘
//! ```
//! Up to 16 regions a scan that counts the starts at or below the address beats a binary search (measured; the crossing
//! lies between 16 and 64), because it has no branch to mispredict. Above that the search halves without branches.
#![forbid(unsafe_code)]

use hectare_core::Extent;
use thiserror::Error;

/// Up to this many regions are scanned.
const SCAN: usize = 16;

/// Up to this many without a loop.
const FEW: usize = 4;

/// Why a region was not entered. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionMapError {
    /// The map holds as many regions as it can.
    #[error("the region map is full")]
    Full,
    /// It overlaps a region of the map.
    #[error("the region overlaps {0:?}")]
    Overlap(Extent),
}

/// Up to `N` disjoint regions of addresses, each with a value.
///
/// - Regions are sorted by start and do not overlap; touching is allowed and does not merge them.
///
/// ```
/// use hectare_core::Extent;
/// use hectare_segmentation::RegionMap;
/// use hectare_segmentation::region_map::RegionMapError;
///
/// #[derive(Debug, PartialEq)]
/// enum Device { Memory, Console }
///
/// // What a virtual machine has at its physical addresses.
/// let extent = |start, length| Extent::new(start, length).expect("not empty");
/// let (low, high) = (extent(0, 0xA_0000), extent(0x10_0000, 0x800_0000));
/// let mut bus = RegionMap::<Device, 4>::EMPTY;
/// bus.insert(high, Device::Memory)?;
/// bus.insert(low, Device::Memory)?; // in any order
/// bus.insert(extent(0xFE00_1000, 0x1000), Device::Console)?;
///
/// // The guest touched 0xFE00_1004: which device, and which of its registers?
/// let (place, device) = bus.find(0xFE00_1004).expect("a device is there");
/// assert_eq!((device, 0xFE00_1004 - place.start()), (&Device::Console, 4));
/// assert_eq!(bus.find(0xA_0000), None); // the end of a region is the first address after it
///
/// // A table says where its buffer lies: it must not reach over a hole.
/// assert!(bus.covers(extent(0x20_0000, 0x1000)) && !bus.covers(extent(0x9_F000, 0x2000)));
/// assert_eq!(bus.insert(extent(0xF_F000, 0x2000), Device::Console), Err(RegionMapError::Overlap(high)));
/// # Ok::<(), RegionMapError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RegionMap<T, const N: usize> {
    starts: [u64; N],
    entries: [Option<(Extent, T)>; N],
    count: usize,
}

impl<T, const N: usize> RegionMap<T, N> {
    /// A map without a region.
    pub const EMPTY: Self = Self { starts: [u64::MAX; N], entries: [const { None }; N], count: 0 };

    /// How many regions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no region.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The region that holds `address`, and its value. O(regions) up to 16, else O(log regions).
    #[inline]
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(Extent, &T)> {
        let at = self.below(address).checked_sub(1)?;
        let (extent, value) = self.entries.get(at)?.as_ref()?;
        (address - extent.start() < extent.length()).then_some((*extent, value))
    }

    /// The regions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Extent, &T)> {
        self.entries.iter().flatten().map(|(extent, value)| (*extent, value))
    }

    /// Whether regions that touch cover all of `range`: an access may span them. O(log regions + regions in it).
    #[must_use]
    pub fn covers(&self, range: Extent) -> bool {
        let mut at = range.start();
        while at < range.end() {
            match self.find(at) {
                Some((extent, _)) => at = extent.end(),
                None => return false,
            }
        }
        true
    }

    /// Enters a region. O(regions).
    ///
    /// # Errors
    /// [`RegionMapError::Overlap`] with the lowest region that it overlaps, else [`RegionMapError::Full`].
    pub fn insert(&mut self, region: Extent, value: T) -> Result<(), RegionMapError> {
        if let Some((other, _)) = self.iter().find(|(other, _)| other.overlaps(region)) {
            return Err(RegionMapError::Overlap(other));
        }
        let at = self.below(region.start());
        let count = self.count;
        let (Some(starts), Some(entries)) =
            (self.starts.get_mut(at..=count), self.entries.get_mut(at..=count))
        else {
            return Err(RegionMapError::Full);
        };
        starts.rotate_right(1);
        entries.rotate_right(1);
        if let (Some(start), Some(entry)) = (starts.first_mut(), entries.first_mut()) {
            *start = region.start();
            *entry = Some((region, value));
            self.count = count + 1;
        }
        Ok(())
    }

    /// Takes out the region that holds `address`; `None` iff none does. O(regions).
    pub fn remove(&mut self, address: u64) -> Option<(Extent, T)> {
        self.find(address)?;
        let at = self.below(address) - 1;
        let entries = self.entries.get_mut(at..self.count)?;
        entries.rotate_left(1);
        let removed = entries.last_mut()?.take();
        let starts = self.starts.get_mut(at..self.count)?;
        starts.rotate_left(1);
        *starts.last_mut()? = u64::MAX;
        self.count -= 1;
        removed
    }

    /// How many regions start at or below `address`.
    #[inline]
    fn below(&self, address: u64) -> usize {
        if self.count <= FEW {
            // A fixed number of places, unrolled. Empty ones hold the greatest address, which counts them only for it.
            let below: usize = self.starts.iter().take(FEW).map(|&start| usize::from(start <= address)).sum();
            return below.min(self.count);
        }
        let starts = self.starts.get(..self.count).unwrap_or_default();
        if N <= SCAN || starts.len() <= SCAN {
            return starts.iter().map(|&start| usize::from(start <= address)).sum();
        }
        starts.partition_point(|&start| start <= address)
    }
}
