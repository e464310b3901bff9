//! A hint to the processor that some memory is needed soon. Elsewhere than on x86-64 and AArch64 it is nothing.
#![cfg_attr(
    all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)),
    expect(unsafe_code, reason = "the hint is an instruction")
)]

/// Asks for the cache line at `address`, which may be anything.
#[inline(always)]
pub(crate) fn prefetch(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch changes no memory and never faults (Intel SDM vol. 2, PREFETCHh); no flag, no stack.
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) address, options(nomem, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a prefetch changes no memory and never faults (Arm ARM, C6.2, PRFM); no flag, no stack.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nomem, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}
