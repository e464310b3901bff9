//! The start info of the PVH protocol: Xen, `public/arch-x86/hvm/start_info.h`.
use hectare_buddy::MapEntry;
use hectare_core::PhysAddr;

use super::boot::TRAMPOLINE;
use crate::memory::Map;

const MAGIC: u32 = 0x336E_C578;
/// The type of usable memory; all others are reserved.
const RAM: u32 = 1;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    entries: u32,
}

#[repr(C)]
struct Entry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// The firmware's map, less the first MiB's lowest frames, the trampoline, and the kernel's image.
pub fn memory_map(start_info: usize, image: (usize, usize)) -> Map {
    let info: *const StartInfo = core::ptr::with_exposed_provenance(start_info);
    // SAFETY: the protocol passes its address.
    let info = unsafe { info.read() };
    assert!(info.magic == MAGIC && info.version >= 1, "no start info");
    let mut map = Map::new();
    let entry: *const Entry = core::ptr::with_exposed_provenance(info.memory_map as usize);
    for at in 0..info.entries as usize {
        // SAFETY: so many entries are there.
        let Entry { address, size, kind, .. } = unsafe { entry.add(at).read() };
        let start = PhysAddr::new(address);
        map.add(if kind == RAM { MapEntry::usable(start, size) } else { MapEntry::reserved(start, size) });
    }
    // Address 0 is nobody's: a pointer there would be null.
    map.add(MapEntry::reserved(PhysAddr::new(0), (TRAMPOLINE + 4096) as u64));
    map.add(MapEntry::reserved(PhysAddr::new(image.0 as u64), (image.1 - image.0) as u64));
    map
}
