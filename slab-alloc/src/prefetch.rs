//! A hint to the processor: this place will be written to soon.
//!
//! A processor waits for one missing cache line after the other to write to, but fetches many side by side. Who is about to
//! write to several objects that another processor, or nobody, has in its cache, says so first.
#![cfg_attr(
    all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)),
    expect(unsafe_code, reason = "instructions that no safe function gives")
)]

use core::ptr::NonNull;

/// Fetches the cache line of this place, to be written to. A hint: nothing is read or written, and any address will do.
#[inline(always)]
pub(crate) fn to_write(place: NonNull<u8>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHW (AMD64 manual 3; Intel SDM 2) never faults and changes nothing that a program can see; processors
    // without it take it for NOP.
    unsafe {
        core::arch::asm!(
            "prefetchw byte ptr [{}]",
            in(reg) place.as_ptr(),
            options(readonly, nostack, preserves_flags),
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM (Arm ARM, C6.2) never faults and changes nothing that a program can see.
    unsafe {
        core::arch::asm!(
            "prfm pstl1keep, [{}]",
            in(reg) place.as_ptr(),
            options(readonly, nostack, preserves_flags),
        );
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = place;
}
