//! How the tables' own memory is reached, and what the machine is told between two steps.
//!
//! ```text
//!   physical address of a table ──TableWindow::table──► pointer to its entries
//!                                 TableWindow::step───► what a test sees before each store (nothing otherwise)
//!                                 TableWindow::broken─► break-before-make: a live entry is absent, now invalidate
//! ```
//! Any window of the family serves: a direct map at an offset, identity ([`identity`]), a root that links itself
//! ([`Recursive`](super::Recursive)), a test's arena.
#![expect(unsafe_code, reason = "declares an unsafe trait; makes the identity window")]

use core::ptr::{NonNull, with_exposed_provenance_mut};

use hectare_core::{DirectMap, PhysAddr, PhysWindow};

use super::flush::Invalidation;

/// A window onto page tables: memory, and two hooks that cost nothing unless they are used.
///
/// Every [`PhysWindow`] is one. A test implements it itself to watch or disturb a table between any two stores; a live
/// table of a format that needs break-before-make stands on [`Live`].
///
/// # Safety
/// The pointer is as promised by [`PhysWindow`]: valid for reads and writes of `bytes` bytes, which are those at
/// `address`, as long as the window exists; and an address that was shown once is shown always. The hooks change nothing
/// in tables but what hardware may change: accessed and dirty bits of present entries.
pub unsafe trait TableWindow {
    /// The pointer to the `bytes` bytes of the table at `address`; `None` if the window does not show them.
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>>;

    /// Called before every store to the entry or table at `address`.
    #[inline(always)]
    fn step(&self, address: PhysAddr) {
        let _ = address;
    }

    /// Called when a live leaf entry was made absent and will be replaced by a table, or the reverse, in a format that
    /// forbids the direct change. Returns when no CPU holds the old entry. The default is for tables that no CPU uses.
    #[inline(always)]
    fn broken(&self, what: &Invalidation<'_>) {
        let _ = what;
    }
}

// SAFETY: the window's own promise; equal addresses give equal pointers.
unsafe impl<W: PhysWindow> TableWindow for W {
    #[inline(always)]
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.pointer(address, bytes)
    }
}

/// A window under a table that CPUs walk while it changes, in a format with break-before-make.
#[derive(Clone, Copy, Debug)]
pub struct Live<W, T> {
    window: W,
    tlb: T,
}

impl<W: PhysWindow, T: super::Tlb> Live<W, T> {
    /// Entries are reached through `window`, broken ones invalidated by `tlb`.
    #[must_use]
    pub const fn new(window: W, tlb: T) -> Self {
        Self { window, tlb }
    }
}

// SAFETY: the window's promise; the invalidation changes no table.
unsafe impl<W: PhysWindow, T: super::Tlb> TableWindow for Live<W, T> {
    #[inline(always)]
    fn table(&self, address: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
        self.window.pointer(address, bytes)
    }

    fn broken(&self, what: &Invalidation<'_>) {
        self.tlb.invalidate(what);
    }
}

/// The identity window: the `length` bytes from `first` at the pointer of the same number. `None` if they wrap or begin
/// at 0.
///
/// # Safety
/// As [`DirectMap::new`]; and the memory's provenance was exposed, or belongs to no Rust object at all.
#[must_use]
pub unsafe fn identity(first: PhysAddr, length: u64) -> Option<DirectMap> {
    let address = usize::try_from(first.value()).ok()?;
    let pointer = NonNull::new(with_exposed_provenance_mut(address))?;
    // SAFETY: the caller's promise.
    unsafe { DirectMap::new(pointer, first, length) }
}
