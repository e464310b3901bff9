//! Free objects on their way to their owner: one cache line names eight of them.
//!
//! ```text
//!  first ──► carrier ──────────► carrier ──────────► … last carrier ──► what lay in the owner's box
//!            │ link + n │ a │ b │ c │ …               n ≤ 7: so many others are named by the carrier's next words
//! ```
//! A list through every object would make its reader wait for one cache line after the other, each in the cache of the
//! processor that wrote the link. Here it waits for every eighth, and asks for the seven others at once. Who frees does not
//! write to those at all.
//!
//! Objects are aligned to 8, so that the number fits below the link. An object of 8 bytes carries nothing, one of 16
//! another one. In the hardened variant every object carries its encoded link alone.
#![expect(unsafe_code, reason = "writes addresses into free objects")]

use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::{Free, HARDENED};
use crate::prefetch;

/// The bits of a link that hold the number of objects carried.
const LOAD_BITS: usize = 7;

/// Most objects that a carrier names: with its link, one cache line of addresses.
const fn most_load() -> usize {
    if HARDENED { 0 } else { LOAD_BITS }
}

/// The place of the `index`-th object that this carrier names, from 1 on.
///
/// # Safety
/// `index` is below the object's words.
#[inline(always)]
unsafe fn place(carrier: NonNull<u8>, index: usize) -> NonNull<NonNull<u8>> {
    // SAFETY: inside the object (caller).
    unsafe { carrier.cast::<NonNull<u8>>().add(index) }
}

/// Objects for one owner that are being collected.
///
/// * `carrier` is the object that names those that come next, `load` of them so far, up to `room`; its link is not written.
/// * `behind` are the carriers before it, linked and full; `last` is the first that was pushed. All are null if the batch
///   is empty.
#[derive(Debug, Default)]
pub struct Batch {
    carrier: Cell<*mut u8>,
    load: Cell<u32>,
    room: Cell<u32>,
    behind: Cell<*mut u8>,
    last: Cell<*mut u8>,
}

impl Batch {
    /// Without objects.
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    pub const EMPTY: Self = Self {
        carrier: Cell::new(ptr::null_mut()),
        load: Cell::new(0),
        room: Cell::new(0),
        behind: Cell::new(ptr::null_mut()),
        last: Cell::new(ptr::null_mut()),
    };

    /// Puts an object in.
    ///
    /// # Safety
    /// It has `bytes` bytes, at least 8, that are valid for writes.
    #[inline(always)]
    pub unsafe fn push(&self, object: Free, bytes: usize) {
        let load = self.load.get();
        match NonNull::new(self.carrier.get()) {
            Some(carrier) if load < self.room.get() => {
                self.load.set(load + 1);
                // SAFETY: load + 1 ≤ room, which `begin` made less than the carrier's words.
                let place = unsafe { place(carrier, load as usize + 1) };
                // SAFETY: as above; the carrier is a free object, which we own.
                unsafe { place.write(object.0) };
            }
            _ => self.begin(object, bytes),
        }
    }

    /// The object is the next carrier.
    #[inline(never)]
    fn begin(&self, object: Free, bytes: usize) {
        self.seal();
        let carrier = object.0.as_ptr();
        self.behind.set(self.carrier.replace(carrier));
        if self.behind.get().is_null() {
            self.last.set(carrier);
        }
        self.load.set(0);
        #[expect(clippy::cast_possible_truncation, reason = "at most 7")]
        self.room.set((bytes / size_of::<*mut u8>()).saturating_sub(1).min(most_load()) as u32);
    }

    /// Writes the carrier's link.
    fn seal(&self) {
        if let Some(carrier) = NonNull::new(self.carrier.get()) {
            let load = self.load.get() as usize;
            Free(carrier).link(self.behind.get().map_addr(|address| address | load));
        }
    }

    /// All of them; nothing is left. `None` if there are none.
    #[must_use]
    pub fn take(&self) -> Option<Parcel> {
        self.seal();
        let first = NonNull::new(self.carrier.replace(ptr::null_mut()))?;
        let last = NonNull::new(self.last.replace(ptr::null_mut()))?;
        self.behind.set(ptr::null_mut());
        self.load.set(0);
        self.room.set(0);
        Some(Parcel { first, last })
    }
}

/// A batch that is complete. Whoever has it owns its objects.
#[derive(Debug)]
pub struct Parcel {
    first: NonNull<u8>,
    last: NonNull<u8>,
}

impl Parcel {
    /// Its first carrier, for a word that others take it from.
    #[must_use]
    pub fn first(&self) -> *mut u8 {
        self.first.as_ptr()
    }

    /// Links the last carrier to `next`, the first of another parcel, or null. To be called with the parcel still ours.
    pub fn attach(&self, next: *mut u8) {
        let last = Free(self.last);
        let load = last.linked().addr() & LOAD_BITS;
        last.link(next.map_addr(|address| address | load));
    }
}

/// Parcels that arrived. Whoever has it owns their objects.
#[derive(Debug)]
pub struct Mail(*mut u8);

impl Mail {
    /// The parcels whose first carrier this is; none if it is null.
    ///
    /// # Safety
    /// It was given out by [`Parcel::first`], after everything was [attached](Parcel::attach), and is turned into mail once.
    #[must_use]
    pub unsafe fn from_first(first: *mut u8) -> Self {
        Self(first)
    }

    /// Hands every object to `each`. While those of one carrier are handed over, those of the next one are on their way.
    #[inline(always)]
    pub fn deliver(self, mut each: impl FnMut(Free)) {
        let mut next = NonNull::new(self.0);
        let mut opened: Option<(NonNull<u8>, usize)> = None;
        loop {
            let before = opened.take();
            if let Some(carrier) = next {
                let link = Free(carrier).linked();
                let load = (link.addr() & LOAD_BITS).min(most_load());
                next = NonNull::new(link.map_addr(|address| address & !LOAD_BITS));
                Self::call_for(carrier, load, next);
                opened = Some((carrier, load));
            }
            let Some((carrier, load)) = before else {
                if opened.is_none() {
                    return;
                }
                continue;
            };
            // The carrier itself is the last: whoever has it writes to it.
            for index in (0..=load).rev() {
                let mut object = carrier;
                if index > 0 {
                    // SAFETY: the carrier's link says that so many words were written behind it.
                    let place = unsafe { place(carrier, index) };
                    // SAFETY: as above, by `Batch::push`.
                    object = unsafe { place.read() };
                }
                each(Free(object));
            }
        }
    }

    /// Asks for the cache lines of what a carrier names.
    #[inline(always)]
    fn call_for(carrier: NonNull<u8>, load: usize, next: Option<NonNull<u8>>) {
        if let Some(next) = next {
            prefetch::to_write(next);
        }
        for index in 1..=load {
            // SAFETY: the carrier's link says that so many words were written behind it.
            let place = unsafe { place(carrier, index) };
            // SAFETY: as above, by `Batch::push`.
            prefetch::to_write(unsafe { place.read() });
        }
    }
}
