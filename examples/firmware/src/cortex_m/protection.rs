//! The memory protection unit: PMSAv7 (M3, M4) or PMSAv8 (M33).
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{Access, AccessKind, Extent, Permissions, Privilege};
use hectare_segmentation::protect::leaf::mpu::Mpu;
#[cfg(not(feature = "pmsa8"))]
use hectare_segmentation::protect::{Layer, Memory7, Pmsa7, Region7, cover_layered};
#[cfg(feature = "pmsa8")]
use hectare_segmentation::protect::{Region8, Shareability};
use hectare_segmentation::protect::{RegionSet, Rights};

use super::task::FAULT_STATUS;

/// A fault is a MemManage exception from now on, and not a hard fault.
pub fn enable_faults() {
    let handler_control: *mut u32 = core::ptr::with_exposed_provenance_mut(0xE000_ED24);
    // SAFETY: SHCSR: MEMFAULTENA.
    unsafe { handler_control.write_volatile(1 << 16) };
}

/// One unprivileged load or store of a byte. Returns whether it faulted.
pub fn probe(address: usize, write: bool) -> bool {
    FAULT_STATUS.store(0, Relaxed);
    if write {
        // SAFETY: STRBT has four bytes; the address is within the pool, which holds nothing.
        unsafe { asm!("strbt {}, [{}]", in(reg) 0, in(reg) address, options(nostack)) };
    } else {
        // SAFETY: LDRBT has four bytes; the address is within the pool.
        unsafe { asm!("ldrbt {}, [{}]", out(reg) _, in(reg) address, options(nostack)) };
    }
    FAULT_STATUS.load(Relaxed) != 0
}

fn rights(read_only: bool) -> Rights {
    let data = Permissions::READ | Permissions::WRITE;
    Rights { kernel: data, user: if read_only { Permissions::READ } else { data } }
}

#[cfg(not(feature = "pmsa8"))]
type Region = Region7;
#[cfg(feature = "pmsa8")]
type Region = Region8;

/// The unit and what is in it.
pub struct Protection {
    unit: Mpu,
    set: RegionSet<Region, 8>,
}

impl Protection {
    pub fn new() -> Self {
        // SAFETY: privileged code on a machine with an MPU, and nobody else uses it.
        let mut unit = unsafe { Mpu::new() };
        assert!(unit.regions() >= 8, "the board has eight regions");
        #[cfg(feature = "pmsa8")]
        // SAFETY: the pool is ordinary memory.
        unsafe {
            unit.set_attributes(0xFF);
        }
        let _ = &mut unit;
        Self { unit, set: RegionSet::EMPTY }
    }

    /// Exactly these bytes, by the fewest regions; outside of them, up to the pool's ends, nobody has rights.
    #[cfg(not(feature = "pmsa8"))]
    pub fn set(&mut self, start: u64, length: u64, read_only: bool) {
        let wanted = Extent::new(start, length).expect("not empty");
        let outer = Extent::new(start & !0x3FFF, 0x4000).expect("the pool");
        let mut next = RegionSet::EMPTY;
        let cover = cover_layered::<8>(&Pmsa7::V7, wanted, outer).expect("eight are enough below 64 KiB");
        for (layer, region) in cover.iter() {
            let none = Rights { kernel: Permissions::empty(), user: Permissions::empty() };
            let rights = if layer == Layer::Allow { rights(read_only) } else { none };
            next.push(Region7::new(Pmsa7::V7, region, rights, Memory7::NORMAL).expect("a region of a cover"));
        }
        // SAFETY: all regions lie in the pool, which holds nothing.
        unsafe { self.unit.apply7(self.set.changes_to(&next)) };
        self.set = next;
    }

    /// Exactly these bytes. A read-only region binds the kernel too: it has no other region there.
    #[cfg(feature = "pmsa8")]
    pub fn set(&mut self, start: u64, length: u64, read_only: bool) {
        let wanted = Extent::new(start, length).expect("not empty");
        let user = rights(read_only).user;
        let region =
            Region8::new(wanted, Rights { kernel: user, user }, 0, Shareability::None).expect("blocks of 32");
        let mut next = RegionSet::EMPTY;
        next.push(region);
        // SAFETY: the region lies in the pool, which holds nothing.
        unsafe { self.unit.apply8(self.set.changes_to(&next)) };
        self.set = next;
    }

    /// Writes the same registers again. QEMU 7.2 keeps what it found for an address for all of its 1 KiB, even if the
    /// address lay in a switched-off eighth of a region whose other eighths are on; new registers make it forget.
    pub fn refresh(&mut self) {
        #[cfg(not(feature = "pmsa8"))]
        // SAFETY: the regions that are in force.
        unsafe {
            self.unit.apply7(RegionSet::EMPTY.changes_to(&self.set));
        }
    }

    pub fn permits(&self, address: u64, write: bool) -> bool {
        let kind = if write && cfg!(not(hectare_plant = "read_for_write")) {
            AccessKind::Write
        } else {
            AccessKind::Read
        };
        self.set.permits(address as u32, Access { kind, privilege: Privilege::User }, true)
    }
}

/// What a task may touch: its code, which is everybody's, and its memory.
pub type TaskSet = RegionSet<Region, 8>;

/// The set of a task with this memory.
pub fn task_set(code: Extent, memory: Extent) -> Option<TaskSet> {
    let code_rights = Permissions::READ | Permissions::EXECUTE;
    let data_rights = Permissions::READ | Permissions::WRITE;
    let mut set = TaskSet::EMPTY;
    for (extent, rights) in [(code, code_rights), (memory, data_rights)] {
        let rights = Rights { kernel: rights, user: rights };
        #[cfg(not(feature = "pmsa8"))]
        let region = Region7::new(Pmsa7::V7, extent, rights, Memory7::NORMAL)?;
        #[cfg(feature = "pmsa8")]
        let region = Region8::new(extent, rights, 0, Shareability::None)?;
        set.push(region)?;
    }
    Some(set)
}

impl Protection {
    /// The context switch: only what differs is written.
    pub fn switch(&mut self, next: &TaskSet) -> usize {
        let changes = self.set.changes_to(next).count();
        // SAFETY: the kernel has the background region; programs get their code and memory.
        #[cfg(not(feature = "pmsa8"))]
        unsafe {
            self.unit.apply7(self.set.changes_to(next));
        }
        // SAFETY: as above; code and memory do not overlap.
        #[cfg(feature = "pmsa8")]
        unsafe {
            self.unit.apply8(self.set.changes_to(next));
        }
        self.set = *next;
        changes
    }
}
