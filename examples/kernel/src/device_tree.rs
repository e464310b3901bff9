//! The memory map of a flattened device tree.
use fdt::Fdt;
use hectare_buddy::MapEntry;
use hectare_core::PhysAddr;

use crate::memory::Map;

/// Reads the tree at this address.
pub fn at(address: usize) -> Fdt<'static> {
    // SAFETY: the firmware passed the address of a device tree, which nobody changes; its frames are reserved below.
    unsafe { Fdt::from_ptr(core::ptr::with_exposed_provenance(address)) }.expect("a device tree")
}

/// Its memory, less what it reserves, itself and the kernel's image.
pub fn memory_map(address: usize, image: (usize, usize)) -> Map {
    let tree = at(address);
    let mut map = Map::new();
    let entry = |make: fn(PhysAddr, u64) -> MapEntry, start: usize, length: usize| {
        make(PhysAddr::new(start as u64), length as u64)
    };
    for region in tree.memory().regions() {
        map.add(entry(MapEntry::usable, region.starting_address.addr(), region.size.unwrap_or(0)));
    }
    for region in tree.memory_reservations() {
        map.add(entry(MapEntry::reserved, region.address().addr(), region.size()));
    }
    for node in tree.find_node("/reserved-memory").into_iter().flat_map(|node| node.children()) {
        for region in node.reg().into_iter().flatten() {
            map.add(entry(MapEntry::reserved, region.starting_address.addr(), region.size.unwrap_or(0)));
        }
    }
    map.add(entry(MapEntry::reserved, address, tree.total_size()));
    map.add(entry(MapEntry::reserved, image.0, image.1 - image.0));
    map
}
