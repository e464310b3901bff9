//! Free objects as values: whoever has one owns its memory, so chains of them need no unsafe code to use.
//!
//! ```text
//!  chain ──► object ──► object ──► object ──► null
//!            │ next │ mark │ … nobody reads the rest …
//! ```
//! With the feature `hosted-hardened` a link is stored as `next ^ key ^ address rotated`, so that bytes written into a
//! freed object decode to nonsense, and the second word holds a mark that says "free".
#![expect(unsafe_code, reason = "writes links into free objects")]

use core::cell::Cell;
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

mod batch;

pub use batch::{Batch, Mail, Parcel};

/// Whether links are encoded and free objects marked.
pub const HARDENED: bool = cfg!(feature = "hosted-hardened");

/// What links and marks are mixed with; set once, before the first object.
static KEY: AtomicUsize = AtomicUsize::new(0x9E37_79B9);

#[cfg(not(hectare_loom))]
/// Sets the key of links and marks. Before the first object is freed, or never.
pub(crate) fn set_key(key: usize) {
    KEY.store(key, Ordering::Relaxed);
}

/// A free object. Having one guarantees: (1) its first 8 bytes (16 in the hardened variant, if the object has them) are
/// valid for reads and writes and aligned to 8; (2) nobody else uses the object as long as this value, or the chain that
/// it was put into, exists. It says nothing about which heap the object belongs to.
pub struct Free(NonNull<u8>);

impl fmt::Debug for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Free").field(&self.0).finish()
    }
}

/// What is XORed to the address of the object that follows `object`.
#[inline(always)]
fn mask(object: *mut u8) -> usize {
    if HARDENED { KEY.load(Ordering::Relaxed) ^ object.addr().rotate_left(20) } else { 0 }
}

impl Free {
    /// The object at this place.
    ///
    /// # Safety
    /// The two guarantees of the type.
    #[inline(always)]
    #[must_use]
    pub unsafe fn new(object: NonNull<u8>) -> Self {
        Self(object)
    }

    /// Where it is. Whoever uses the memory through it gives up the value.
    #[inline(always)]
    #[must_use]
    pub fn address(&self) -> NonNull<u8> {
        self.0
    }

    /// Stores the link.
    #[inline(always)]
    fn link(&self, next: *mut u8) {
        let stored = if HARDENED { next.map_addr(|next| next ^ mask(self.0.as_ptr())) } else { next };
        // SAFETY: guarantees 1 and 2 of the type.
        unsafe { self.0.cast::<*mut u8>().write(stored) };
    }

    /// The link stored last. The object must have been in a chain.
    #[inline(always)]
    fn linked(&self) -> *mut u8 {
        // SAFETY: guarantees 1 and 2 of the type; `link` wrote a pointer there.
        let stored = unsafe { self.0.cast::<*mut u8>().read() };
        if HARDENED { stored.map_addr(|stored| stored ^ mask(self.0.as_ptr())) } else { stored }
    }
}

/// The mark of a free object at this address: it depends on the key, so that a program cannot hold it by accident.
#[must_use]
pub fn mark_of(object: NonNull<u8>) -> usize {
    KEY.load(Ordering::Relaxed).rotate_left(32) ^ object.addr().get() ^ 0x5bd1_e995
}

/// A stack of free objects, linked through their first words. Whoever has it owns them.
///
/// * Every object in it is a [`Free`] that was pushed; the last one's link is null.
#[repr(transparent)]
pub struct Chain(Cell<*mut u8>);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.0.get()).finish()
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chain {
    /// Without objects.
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    pub const EMPTY: Self = Self(Cell::new(ptr::null_mut()));

    /// Whether there is no object.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// The object that would be popped next, for comparing only.
    #[must_use]
    pub fn peek(&self) -> *const u8 {
        self.0.get()
    }

    /// Whether there are fewer than `count` objects. O(count).
    #[must_use]
    pub fn is_shorter(&self, count: u32) -> bool {
        let mut object = NonNull::new(self.0.get());
        for _ in 0..count {
            match object {
                Some(here) => object = NonNull::new(Free(here).linked()),
                None => return true,
            }
        }
        false
    }

    /// Puts an object in front.
    #[inline(always)]
    pub fn push(&self, object: Free) {
        object.link(self.0.get());
        self.0.set(object.0.as_ptr());
    }

    /// Takes the front object: what was pushed last.
    #[inline(always)]
    pub fn pop(&self) -> Option<Free> {
        let object = Free(NonNull::new(self.0.get())?);
        self.0.set(object.linked());
        Some(object)
    }

    /// All of them; nothing is left.
    #[inline(always)]
    #[must_use]
    pub fn take(&self) -> Self {
        Self(Cell::new(self.0.replace(ptr::null_mut())))
    }

    /// Puts these in the place of what is here, which is forgotten if it is not empty.
    #[inline(always)]
    pub fn replace(&self, chain: Self) {
        self.0.set(chain.0.get());
    }
}

#[cfg(test)]
mod tests;
