//! A hint to the processor: these places will be written to soon, or read.
//!
//! A table that was just taken, or not used for long, is in no cache. A processor that goes to it waits for each of its lines, a
//! few at a time; it fetches many side by side if it is told before.
#![cfg_attr(
    all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)),
    expect(unsafe_code, reason = "instructions that no safe function gives")
)]

/// A place that will be used. Nothing is ever read or written through it.
#[derive(Clone, Copy)]
pub(super) struct Ahead(*const u8);

impl Ahead {
    /// The place of something; any place if it is not there.
    #[inline(always)]
    pub(super) fn of<T>(place: Option<&T>) -> Self {
        Self(place.map_or(core::ptr::null(), |place| core::ptr::from_ref(place).cast()))
    }

    /// The place so many bytes behind it.
    #[inline(always)]
    pub(super) const fn behind(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Asks for the cache line so many bytes behind it, to be written to. Any address will do.
    #[inline(always)]
    pub(super) fn fetch(self, bytes: usize) {
        let place = self.behind(bytes).0;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: PREFETCHW (AMD64 manual 3; Intel SDM 2) never faults and changes nothing that a program can see;
        // processors without it take it for NOP.
        unsafe {
            core::arch::asm!("prefetchw byte ptr [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: PRFM (Arm ARM, C6.2) never faults and changes nothing that a program can see.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
        }
        #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
        let _ = place;
    }

    /// Asks for the cache line of the place, which others may keep: it is only read.
    #[inline(always)]
    pub(super) fn fetch_to_read(self) {
        let place = self.0;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: PREFETCHT0 (AMD64 manual 3; Intel SDM 2) never faults and changes nothing that a program can see.
        unsafe {
            core::arch::asm!("prefetcht0 byte ptr [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: PRFM (Arm ARM, C6.2) never faults and changes nothing that a program can see.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
        }
        #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
        let _ = place;
    }
}
