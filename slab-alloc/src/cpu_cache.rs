//! A cache for many CPUs: magazines on each, a depot and the slabs behind a lock.
//!
//! ```text
//!  CpuPin ── slot ──► loaded, spare            no lock, no atomic
//!     │                  │ every so many operations
//!     └── none ──► lock: depot, slabs          (early boot, more CPUs than slots, interrupted in a slot)
//!                    │ held further up this stack
//!                    └──► mailbox: frees only  (a lock that can tell; taken out by who has the lock next)
//! ```
#![expect(unsafe_code, reason = "takes objects back, and reaches the slots that the pin gives")]

use core::fmt;
use core::ptr::NonNull;

use hectare_core::sync::UnsafeCell;
use hectare_core::sync::atomic::{AtomicUsize, Ordering};
use hectare_core::{AllocError, CpuPin, FreeError, RawLock, Reentered, Slot, Violation};

use crate::cache::Cache;
use crate::info::CacheInfo;
use crate::magazine::{Pair, ROUNDS};
use crate::mailbox::Mailbox;
use crate::shared_cache::{Home, SlabBox};
use store::Store;

mod store;

/// An [`ObjectCache`](crate::ObjectCache) or a [`RawCache`](crate::RawCache) with magazines for up to `CPUS` CPUs, through
/// `&self`.
///
/// * On a slot of its [`CpuPin`], taking and giving back are a few loads and stores: no lock, no atomic operation, no look
///   at the object or its slab. The lock is taken at most once in as many operations as a magazine has rounds.
/// * Magazines begin with 4 rounds and grow to 30 when CPUs meet at the lock.
/// * An object may be freed on any CPU; it goes to that CPU's magazine.
/// * Without a slot, the lock is taken each time. If the lock is held further up the call stack and can tell, a free waits
///   in a mailbox and an allocation is refused ([`AllocError::Reentered`]).
/// * A bad free is found when the object comes to its slab: it is then dropped and [counted](Self::rejected). A pointer
///   that is no object is refused at once where there is no slot.
/// * An object in a magazine is constructed, and counts as active in [`info`](Self::info).
/// * Dropping the cache takes everything back from the magazines first.
///
/// ```
/// use hectare_core::SpinLock;
/// use hectare_slab::{ByDefault, CpuCache, ObjectCache};
/// # use hectare_testkit::stand_in::{PlainFrames, ThreadSlots};
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
/// # let pin = ThreadSlots::new(2);
///
/// // `pin` tells which CPU this is: a kernel's, with preemption off. Here two threads are the CPUs.
/// let files: ObjectCache<[u64; 16], _, _, ByDefault> = ObjectCache::new("file", ByDefault, frames, window);
/// let files: CpuCache<_, SpinLock, _, 2> = CpuCache::new(pin, SpinLock::new(), files);
/// std::thread::scope(|cpus| {
///     for _ in 0..2 {
///         cpus.spawn(|| {
///             for _ in 0..1000 {
///                 // From this CPU's magazine, nearly always without the lock.
///                 let mut file = files.take().expect("two are in use at most");
///                 file[0] += 1;
///             }
///         });
///     }
/// });
/// // Objects in magazines count as active, and keep their slab. Under memory pressure they go home from all CPUs.
/// assert!(files.info()?.active_objects > 0);
/// assert_eq!(files.shrink_all()?, 1);
/// assert_eq!((files.info()?.active_objects, files.rejected()?), (0, 0));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// * an object is in one place: handed out, in one magazine, in the mailbox, or free in its slab
/// * those of the cache
pub struct CpuCache<P, L, C: Cache, const CPUS: usize> {
    pin: P,
    slots: [UnsafeCell<Pair>; CPUS],
    lock: L,
    store: UnsafeCell<Store<C>>,
    mailbox: Mailbox,
    /// Rounds of a full magazine.
    target: AtomicUsize,
    /// CPUs that hold the lock or wait for it.
    waiting: AtomicUsize,
    /// Times that one met another there since the target grew.
    met: AtomicUsize,
}

// SAFETY: (1) a slot's magazines are reached only under the pin, by one closure at a time (CpuPin); (2) the store only
// under the lock (RawLock); (3) objects move between threads: `Object: Send`; (4) the rest is atomic.
unsafe impl<P, L, C, const CPUS: usize> Sync for CpuCache<P, L, C, CPUS>
where
    P: CpuPin + Sync,
    L: RawLock + Sync,
    C: Cache + Send,
    C::Object: Send,
{
}

// SAFETY: as above, moved as a whole.
unsafe impl<P, L, C, const CPUS: usize> Send for CpuCache<P, L, C, CPUS>
where
    P: Send,
    L: Send,
    C: Cache + Send,
    C::Object: Send,
{
}

/// Rounds of a full magazine in the beginning.
const FIRST_TARGET: usize = if cfg!(hectare_loom) { 1 } else { 4 };

/// Meetings at the lock before magazines grow (umem's `umem_depot_contention` is 3 in 15 seconds).
const MEETINGS: usize = 3;

impl<P: CpuPin, L: RawLock, C: Cache, const CPUS: usize> CpuCache<P, L, C, CPUS> {
    /// A cache with empty magazines before this one. Slots of the pin from `CPUS` on take the shared path.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn new(pin: P, lock: L, objects: C) -> Self {
        Self {
            pin,
            slots: [const { UnsafeCell::new(Pair::EMPTY) }; CPUS],
            lock,
            store: UnsafeCell::new(Store::new(objects)),
            mailbox: Mailbox::new(),
            target: AtomicUsize::new(FIRST_TARGET),
            waiting: AtomicUsize::new(0),
            met: AtomicUsize::new(0),
        }
    }

    /// As above, for loom.
    #[cfg(hectare_loom)]
    #[must_use]
    pub fn new(pin: P, lock: L, objects: C) -> Self {
        Self {
            pin,
            slots: core::array::from_fn(|_| UnsafeCell::new(Pair::EMPTY)),
            lock,
            store: UnsafeCell::new(Store::new(objects)),
            mailbox: Mailbox::new(),
            target: AtomicUsize::new(FIRST_TARGET),
            waiting: AtomicUsize::new(0),
            met: AtomicUsize::new(0),
        }
    }

    /// Takes an object, which is valid.
    ///
    /// # Errors
    /// As [`Cache::allocate`], after this CPU's magazines and the depot went back to the slabs; or
    /// [`AllocError::Reentered`]. Objects that other CPUs have at hand come back by [`shrink_all`](Self::shrink_all).
    #[inline]
    pub fn allocate(&self) -> Result<NonNull<C::Object>, AllocError> {
        let result = self.pin.with(|slot| match self.pair(slot) {
            Some(cell) => cell.with_mut(|pair| {
                // SAFETY: the slot is exclusively ours until the closure returns (CpuPin).
                let pair = unsafe { &mut *pair };
                match pair.pop() {
                    Some(object) => Ok(object.cast()),
                    None => self.refill(pair),
                }
            }),
            None => self.with(|store| store.objects.allocate())?,
        });
        match result {
            Err(AllocError::OutOfMemory | AllocError::Fragmented) => self.allocate_under_pressure(),
            result => result,
        }
    }

    /// Takes an object that gives itself back.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn take(&self) -> Result<SlabBox<'_, Self>, AllocError> {
        let object = self.allocate()?;
        // SAFETY: just taken.
        Ok(unsafe { SlabBox::from_raw(object, self) })
    }

    /// Gives an object back, as it is.
    ///
    /// # Safety
    /// The object was taken from this cache and not given back, it is valid, and nothing uses it any more.
    ///
    /// # Errors
    /// Without a slot, as [`Cache::free`]. [`FreeError::Reentered`] if the lock is held further up this call stack
    /// and the mailbox is full; the object then stays handed out.
    #[inline]
    pub unsafe fn free(&self, object: NonNull<C::Object>) -> Result<(), FreeError> {
        let target = self.target.load(Ordering::Relaxed);
        self.pin.with(|slot| match self.pair(slot) {
            Some(cell) => cell.with_mut(|pair| {
                // SAFETY: the slot is exclusively ours until the closure returns (CpuPin).
                let pair = unsafe { &mut *pair };
                if pair.push(object.cast(), target) { Ok(()) } else { self.overflow(pair, object) }
            }),
            // SAFETY: the caller's promise.
            None => match self.with(|store| unsafe { store.objects.free(object) }) {
                Ok(result) => result,
                Err(reentered) => self.leave(object, reentered),
            },
        })
    }

    /// Gives back what the magazines of the calling CPU hold: when it goes offline.
    ///
    /// # Errors
    /// [`Reentered`] if there is no slot, or the lock is held further up this call stack.
    pub fn flush(&self) -> Result<(), Reentered> {
        self.pin.with(|slot| match self.pair(slot) {
            Some(cell) => self.flush_cell(cell),
            None => Err(Reentered),
        })
    }

    /// Gives back what this CPU's magazines and the depot hold, and every empty slab to the source; how many frames.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn shrink(&self) -> Result<u64, Reentered> {
        let _ = self.flush();
        self.with(|store| {
            store.empty_depot();
            store.objects.shrink()
        })
    }

    /// As [`shrink`](Self::shrink), with the magazines of every CPU that the pin can reach: under memory pressure. Must not
    /// be called inside the pin.
    ///
    /// # Errors
    /// As [`shrink`](Self::shrink).
    pub fn shrink_all(&self) -> Result<u64, Reentered>
    where
        Self: Sync,
    {
        self.pin.request_drain(&|slot| {
            if let Some(cell) = self.pair(Some(slot)) {
                let _ = self.flush_cell(cell);
            }
        });
        self.shrink()
    }

    /// As [`Cache::info`]; objects in magazines are active.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn info(&self) -> Result<CacheInfo, Reentered> {
        self.with(|store| store.objects.info())
    }

    /// Objects in the depot.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn in_depot(&self) -> Result<usize, Reentered> {
        self.with(|store| store.depot.objects())
    }

    /// Objects that came back and were not this cache's, or free already.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn rejected(&self) -> Result<u64, Reentered> {
        self.with(|store| store.rejected)
    }

    /// Rounds of a full magazine now.
    pub fn rounds(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// Checks the slabs.
    ///
    /// # Errors
    /// The first violation found; if the lock is held further up this call stack, that.
    pub fn check_slabs(&self) -> Result<(), Violation> {
        let busy = Violation { rule: "the lock is held further up this call stack", at: 0 };
        self.with(|store| store.objects.check_invariants()).unwrap_or(Err(busy))
    }

    #[inline(always)]
    fn pair(&self, slot: Option<Slot>) -> Option<&UnsafeCell<Pair>> {
        self.slots.get(usize::from(slot?.number()))
    }

    /// Runs `f` with the store, under the lock, after what waits in the mailbox was taken in.
    fn with<R>(&self, f: impl FnOnce(&mut Store<C>) -> R) -> Result<R, Reentered> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) > 0 {
            self.met();
        }
        let result = self.lock.with(|| {
            self.store.with_mut(|store| {
                // SAFETY: the lock lets one closure in at a time (RawLock), so this is the only reference.
                let store = unsafe { &mut *store };
                self.mailbox.collect(|object, _| store.give(object));
                f(store)
            })
        });
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// CPUs met at the lock: larger magazines come here less often.
    #[cold]
    fn met(&self) {
        if self.met.fetch_add(1, Ordering::Relaxed) % MEETINGS == MEETINGS - 1 {
            let target = self.target.load(Ordering::Relaxed);
            self.target.store((target + target / 2 + 1).min(ROUNDS), Ordering::Relaxed);
        }
    }

    /// A full magazine from the depot, or objects from the slabs, into an empty magazine; and one of them.
    #[cold]
    fn refill(&self, pair: &mut Pair) -> Result<NonNull<C::Object>, AllocError> {
        let target = self.target.load(Ordering::Relaxed);
        self.with(|store| {
            let loaded = pair.loaded();
            match store.depot.pop() {
                Some(full) => *loaded = full,
                None => store.fill(loaded, target)?,
            }
            pair.pop().map(NonNull::cast).ok_or(AllocError::OutOfMemory)
        })?
    }

    /// Makes room in a pair of full magazines, and puts the object in.
    #[cold]
    fn overflow(&self, pair: &mut Pair, object: NonNull<C::Object>) -> Result<(), FreeError> {
        let target = self.target.load(Ordering::Relaxed);
        let done = self.with(|store| {
            let loaded = pair.loaded();
            if !store.depot.push(loaded) {
                store.empty(loaded);
            }
            if !loaded.push(object.cast(), target.max(1)) {
                store.give(object.cast());
            }
        });
        done.or_else(|reentered| self.leave(object, reentered))
    }

    /// Leaves an object in the mailbox.
    #[cold]
    fn leave(&self, object: NonNull<C::Object>, reentered: Reentered) -> Result<(), FreeError> {
        if self.mailbox.push(object.cast(), 0) { Ok(()) } else { Err(reentered.into()) }
    }

    /// The last attempt: everything back to the slabs, then from there.
    #[cold]
    fn allocate_under_pressure(&self) -> Result<NonNull<C::Object>, AllocError> {
        let _ = self.flush();
        self.with(|store| {
            store.empty_depot();
            store.objects.allocate()
        })?
    }

    /// Flushes the magazines of a slot that is exclusively the caller's (all callers are under the pin).
    fn flush_cell(&self, cell: &UnsafeCell<Pair>) -> Result<(), Reentered> {
        cell.with_mut(|pair| {
            // SAFETY: the slot is exclusively ours: the callers are closures of the pin.
            let pair = unsafe { &mut *pair };
            self.with(|store| pair.both().iter_mut().for_each(|magazine| store.empty(magazine)))
        })
    }
}

// SAFETY: an object is handed out once: it leaves its slab, magazine or the depot first; the box borrows the cache.
unsafe impl<P: CpuPin, L: RawLock, C: Cache, const CPUS: usize> Home for CpuCache<P, L, C, CPUS> {
    type Object = C::Object;

    unsafe fn give_back(&self, object: NonNull<C::Object>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { self.free(object) }
    }
}

impl<P, L, C: Cache, const CPUS: usize> Drop for CpuCache<P, L, C, CPUS> {
    fn drop(&mut self) {
        self.store.with_mut(|store| {
            // SAFETY: `&mut self`: nobody else is here.
            let store = unsafe { &mut *store };
            self.mailbox.collect(|object, _| store.give(object));
            for cell in &self.slots {
                cell.with_mut(|pair| {
                    // SAFETY: as above.
                    let pair = unsafe { &mut *pair };
                    pair.both().iter_mut().for_each(|magazine| store.empty(magazine));
                });
            }
            store.empty_depot();
        });
    }
}

impl<P, L, C: Cache, const CPUS: usize> fmt::Debug for CpuCache<P, L, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuCache").finish_non_exhaustive()
    }
}
