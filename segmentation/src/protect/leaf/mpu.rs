//! The MPU of Cortex-M: five words at 0xE000_ED90 (ARMv7-M B3.5.5, ARMv8-M D1.2).
//!
//! Regions are written with the unit off: while some are new and some are old, an access could meet both, which has
//! crashed real systems on ARMv8-M.
#![expect(unsafe_code, reason = "memory-mapped registers")]

use crate::protect::{Change, Region7, Region8};

const BASE: usize = 0xE000_ED90;
const CONTROL: usize = 1;
const NUMBER: usize = 2;
const REGION_BASE: usize = 3;
/// RASR of PMSAv7, RLAR of PMSAv8.
const REGION_END: usize = 4;
/// MAIR0 of PMSAv8.
const ATTRIBUTES: usize = 12;

/// The unit of the core that runs this.
///
/// A switch from one task to another, which writes only what differs:
///
/// ```no_run
/// use hectare_segmentation::protect::leaf::mpu::Mpu;
/// use hectare_segmentation::protect::{Region8, RegionSet};
///
/// /// What a scheduler does between two tasks of an ARMv8-M. PMSAv7 has [`Mpu::apply7`].
/// fn switch(mpu: &mut Mpu, from: &RegionSet<Region8, 8>, to: &RegionSet<Region8, 8>) {
///     // SAFETY: a task's regions are disjoint, were cut from memory that is its own, and leave out the kernel's.
///     unsafe { mpu.apply8(from.changes_to(to)) };
/// }
///
/// // SAFETY: (1) privileged, at reset, on a core with an MPU; (2) nobody else has one.
/// let mut mpu = unsafe { Mpu::new() };
/// assert!(mpu.regions() >= 8);
/// // SAFETY: attribute 0 is normal memory, written back, and all regions here are of RAM and flash.
/// unsafe { mpu.set_attributes(0xFF) };
/// let (idle, first) = (RegionSet::EMPTY, RegionSet::EMPTY);
/// switch(&mut mpu, &idle, &first);
/// ```
#[derive(Debug)]
pub struct Mpu(());

impl Mpu {
    /// The unit.
    ///
    /// # Safety
    /// 1. The program runs privileged on a Cortex-M with an MPU.
    /// 2. Nobody else changes the unit while this value lives.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }

    /// How many regions there are; 0 if the unit is not there.
    #[must_use]
    pub fn regions(&self) -> u8 {
        (read(0) >> 8 & 0xFF) as u8
    }

    /// Switches the unit off, writes the changes of a PMSAv7 set, and switches it on again with the background region
    /// for the kernel.
    ///
    /// # Safety
    /// The regions give every program only memory that it may have, and leave the kernel what it uses.
    pub unsafe fn apply7(&mut self, changes: impl Iterator<Item = Change<Region7>>) {
        self.with_unit_off(|| {
            for change in changes {
                // 255 regions at most: the number has eight bits.
                let number = u8::try_from(change.number).unwrap_or(u8::MAX);
                let (base, size) =
                    change.region.map_or((u32::from(number), 0), |region| region.encode(number));
                write(NUMBER, number.into());
                write(REGION_BASE, base & !0x1F);
                write(REGION_END, size);
            }
        });
    }

    /// As [`Self::apply7`], for PMSAv8.
    ///
    /// # Safety
    /// As for [`Self::apply7`]; and no two regions overlap.
    pub unsafe fn apply8(&mut self, changes: impl Iterator<Item = Change<Region8>>) {
        self.with_unit_off(|| {
            for change in changes {
                let (base, end) = change.region.map_or((0, 0), Region8::encode);
                write(NUMBER, u32::try_from(change.number).unwrap_or(u32::MAX));
                write(REGION_BASE, base);
                write(REGION_END, end);
            }
        });
    }

    /// Sets the memory attributes 0 to 3 of PMSAv8 (MAIR0), one a byte: 0xFF is normal memory, written back.
    ///
    /// # Safety
    /// They are right for all memory that regions describe with them.
    pub unsafe fn set_attributes(&mut self, attributes: u32) {
        write(ATTRIBUTES, attributes);
    }

    fn with_unit_off(&mut self, write_regions: impl FnOnce()) {
        barrier();
        write(CONTROL, 0);
        write_regions();
        write(CONTROL, 0b101); // ENABLE and PRIVDEFENA
        barrier();
    }
}

fn read(word: usize) -> u32 {
    let register: *const u32 = core::ptr::with_exposed_provenance(BASE + word * 4);
    // SAFETY: `Mpu::new`'s caller promises (1) that the register is there; reading it has no effect.
    unsafe { register.read_volatile() }
}

fn write(word: usize, value: u32) {
    let register: *mut u32 = core::ptr::with_exposed_provenance_mut(BASE + word * 4);
    // SAFETY: `Mpu::new`'s caller promises (1) that the register is there and (2) that it is ours; what the value does to
    // other memory is promised by the callers of the public functions.
    unsafe { register.write_volatile(value) }
}

/// Everything before is seen with the old regions, everything after with the new.
fn barrier() {
    #[cfg(target_arch = "arm")]
    // SAFETY: the barriers order memory accesses and instruction fetches, and do nothing else.
    unsafe {
        core::arch::asm!("dsb", "isb", options(nostack, preserves_flags));
    }
}
