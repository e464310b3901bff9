//! The translation caches of all CPUs, as far as a page table has to know about them.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use super::flush::Invalidation;

/// Who can make every CPU forget translations: one CPU's own instructions, or a shootdown.
///
/// A kernel for one CPU executes `invlpg`, `sfence.vma` or `tlbi` for each page of each [`Span`](super::Span), or reloads
/// the root beyond a few dozen pages ([`Invalidation::pages`]). With more CPUs it also interrupts those that use the
/// address space and waits for their answers, where the architecture does not broadcast.
///
/// # Safety
/// When [`invalidate`](Self::invalidate) returns, no CPU (nor IOMMU) that uses the table holds or will use a translation
/// of the named pages, or if `tables` is set an entry of an upper level, whatever addresses that is for, that it read before
/// the call; and the stores made before the call are visible to their walkers (`dsb ishst` on AArch64, `fence w, w` on
/// RISC-V come first). With `tables`, one `invlpg` does on x86 (it drops the upper levels of all addresses, SDM 3A,
/// 5.10.4.1); `tlbi` and `sfence.vma` of single pages do not: all of the address space has to go.
pub unsafe trait Tlb {
    /// Makes them forget.
    fn invalidate(&self, what: &Invalidation<'_>);
}

// SAFETY: the inner one keeps the promise.
unsafe impl<T: Tlb + ?Sized> Tlb for &T {
    fn invalidate(&self, what: &Invalidation<'_>) {
        (**self).invalidate(what);
    }
}

/// For tables that no CPU uses: being built for later, or in a test.
#[derive(Clone, Copy, Debug)]
pub struct NotLoaded(());

impl NotLoaded {
    /// # Safety
    /// No CPU uses, or used since its last full invalidation, any table whose tokens are finished with this.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: no CPU holds anything (promise of `new`).
unsafe impl Tlb for NotLoaded {
    #[inline(always)]
    fn invalidate(&self, _what: &Invalidation<'_>) {}
}
