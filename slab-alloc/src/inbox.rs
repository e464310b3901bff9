//! Where other threads leave what belongs to this one: whole parcels at a time, taken all at once.
//!
//! ```text
//!  sender:  parcel ─► its last object's link = head ─► compare-and-swap head = its first object
//!  owner:   swap head = null ─► everything, newest parcel first
//! ```
//! Nothing is ever popped singly, so a head that was taken and came back (ABA) does no harm: the swap of a sender says "my
//! last object is followed by whatever is there now", and that is true whenever it succeeds.
//!
//! An owner may go away. Then its state becomes [`Presence::AWAY`], and whoever finds mail there may take its place with
//! [`claim`](Presence::claim). Sender and owner each write first and read the other's word afterwards, both in one total
//! order: at least one of them sees the other, so no parcel lies in the box of an owner who is away with nobody knowing.
#![expect(unsafe_code, reason = "turns the word of the box back into a chain")]

use hectare_core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use crate::free::{Mail, Parcel};

// Planted faults, which the loom models must catch.
const PUBLISH: Ordering =
    if cfg!(hectare_plant = "inbox_relaxed") { Ordering::Relaxed } else { Ordering::Release };
const TAKE: Ordering =
    if cfg!(hectare_plant = "inbox_unacquired") { Ordering::Relaxed } else { Ordering::Acquire };

/// A box of parcels.
#[derive(Debug, Default)]
pub struct Inbox(AtomicPtr<u8>);

impl Inbox {
    hectare_core::const_unless_loom! {
        /// An empty box.
        #[must_use]
        pub fn new() -> Self {
            Self(AtomicPtr::new(core::ptr::null_mut()))
        }
    }

    /// Whether there is mail. No order is implied.
    #[inline]
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.0.load(Ordering::Relaxed).is_null()
    }

    /// Leaves a parcel. Lock-free: one successful compare-and-swap.
    pub fn post(&self, parcel: Parcel) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            parcel.attach(head);
            match self.0.compare_exchange_weak(head, parcel.first(), PUBLISH, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything. Wait-free.
    #[must_use]
    pub fn take(&self) -> Mail {
        let first = self.0.swap(core::ptr::null_mut(), TAKE);
        // SAFETY: a head is the first object of a parcel that `post` attached to the head before; the swap takes it once.
        unsafe { Mail::from_first(first) }
    }
}

/// Whether the owner of a box is there.
#[derive(Debug)]
pub struct Presence(AtomicU32);

impl Presence {
    /// The owner works.
    pub const HERE: u32 = 0;
    /// There is no owner: who claims the box is.
    pub const AWAY: u32 = 1;

    hectare_core::const_unless_loom! {
        /// With an owner.
        #[must_use]
        pub fn new() -> Self {
            Self(AtomicU32::new(Self::HERE))
        }
    }

    /// Says that the owner goes; what it wrote is seen by the next one who claims. Returns whether there is mail that came
    /// meanwhile: then the caller should [`claim`](Self::claim) once more and look.
    #[must_use]
    pub fn leave(&self, inbox: &Inbox) -> bool {
        self.0.store(Self::AWAY, Ordering::Release);
        order();
        inbox.has_mail()
    }

    /// Whether mail that the caller has just posted lies in the box of an owner who is away.
    #[must_use]
    pub fn is_away_after_post(&self) -> bool {
        order();
        self.0.load(Ordering::Relaxed) == Self::AWAY
    }

    /// Takes the place of the owner; `false` if there is one.
    #[must_use]
    pub fn claim(&self) -> bool {
        let order =
            if cfg!(hectare_plant = "presence_relaxed") { Ordering::Relaxed } else { Ordering::Acquire };
        if cfg!(hectare_plant = "presence_two") {
            let away = self.0.load(Ordering::Acquire) == Self::AWAY;
            self.0.store(Self::HERE, Ordering::Relaxed);
            return away;
        }
        self.0.compare_exchange(Self::AWAY, Self::HERE, order, Ordering::Relaxed).is_ok()
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new()
    }
}

/// Between the own write and the look at the other's.
fn order() {
    if !cfg!(hectare_plant = "presence_unordered") {
        fence(Ordering::SeqCst);
    }
}
