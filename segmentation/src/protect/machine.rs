//! What a machine does with a set of regions: the model that tests, and the firmware that runs beside them, hold the
//! registers to.
#![forbid(unsafe_code)]

use hectare_core::{Access, AccessKind, Extent, Permissions, Privilege};

use super::{PmpEntry, Region7, Region8, RegionSet, Rights};

impl Rights {
    /// Whether the access is permitted.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        let rights = match access.privilege {
            Privilege::Kernel => self.kernel,
            Privilege::User => self.user,
        };
        rights.contains(match access.kind {
            AccessKind::Read => Permissions::READ,
            AccessKind::Write => Permissions::WRITE,
            AccessKind::Execute => Permissions::EXECUTE,
        })
    }
}

impl<const N: usize> RegionSet<Region7, N> {
    /// Whether the unit permits an access to the byte at `address`: the highest number that holds it decides. Where no
    /// region is, `background` gives the kernel every right (PRIVDEFENA). O(N).
    #[must_use]
    pub fn permits(&self, address: u32, access: Access, background: bool) -> bool {
        let holds = |region: &Region7| region.extent().is_some_and(|extent| has(extent, address));
        match (0..N).rev().filter_map(|number| self.get(number)).find(holds) {
            Some(region) => region.rights().allow(access),
            None => background && access.privilege == Privilege::Kernel,
        }
    }
}

impl<const N: usize> RegionSet<Region8, N> {
    /// Whether the unit permits an access to the byte at `address`; not if two regions hold it. Where no region is,
    /// `background` gives the kernel every right (PRIVDEFENA). O(N).
    #[must_use]
    pub fn permits(&self, address: u32, access: Access, background: bool) -> bool {
        let all = (0..N).filter_map(|number| self.get(number));
        let mut holding = all.filter(|region| region.extent().is_some_and(|extent| has(extent, address)));
        match (holding.next(), holding.next()) {
            (Some(region), None) => region.rights().allow(access),
            (Some(_), Some(_)) => false,
            (None, _) => background && access.privilege == Privilege::Kernel,
        }
    }
}

impl<const N: usize> RegionSet<PmpEntry, N> {
    /// Whether the unit permits a program's access to all of `bytes`: the lowest number that holds one of them decides,
    /// and must hold all. A number without an entry is off with an address of 0. O(N).
    #[must_use]
    pub fn permits(&self, bytes: Extent, kind: AccessKind) -> bool {
        let mut before = 0;
        for number in 0..N {
            let Some(entry) = self.get(number) else {
                before = 0;
                continue;
            };
            let extent = entry.extent(before);
            before = entry.encode().1;
            if let Some(extent) = extent.filter(|extent| extent.overlaps(bytes)) {
                let rights = Rights { kernel: Permissions::all(), user: entry.rights() };
                return extent.contains(bytes) && rights.allow(Access { kind, privilege: Privilege::User });
            }
        }
        false
    }
}

fn has(extent: Extent, address: u32) -> bool {
    u64::from(address).wrapping_sub(extent.start()) < extent.length()
}
