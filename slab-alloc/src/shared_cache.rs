//! A cache behind a lock, and objects that give themselves back.
#![expect(unsafe_code, reason = "hands the cache out under the lock, and objects as references")]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use hectare_core::sync::UnsafeCell;
use hectare_core::{AllocError, FrameSource, FreeError, PhysWindow, RawLock, Reentered};

use crate::construct::Construct;
use crate::info::CacheInfo;
use crate::object_cache::ObjectCache;

/// An [`ObjectCache`] that is used through `&self`, and hands out [`SlabBox`]es: no unsafe code for its users.
///
/// With `NoLock` it serves one thread, with `SpinLock` many. The constructor runs under the lock and must not use the
/// same cache.
///
/// ```
/// use hectare_core::SpinLock;
/// use hectare_slab::{ByDefault, ObjectCache, SharedCache};
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
///
/// /// A request and the buffer that it keeps from one use to the next.
/// #[derive(Default)]
/// struct Request { sectors: Vec<u64> }
///
/// let requests: ObjectCache<Request, _, _, ByDefault> = ObjectCache::new("request", ByDefault, frames, window);
/// let requests = SharedCache::new(SpinLock::new(), requests);
/// std::thread::scope(|threads| {
///     let mut request = requests.take()?;
///     request.sectors.extend([7, 8, 9]);
///     // The box goes to whoever completes the request, and the object goes home from there.
///     threads.spawn(move || request.sectors.clear());
///     Ok::<(), hectare_core::AllocError>(())
/// })?;
/// let again = requests.take()?;
/// assert!(again.sectors.capacity() >= 3); // no constructor ran: this is the same object
/// # drop(again);
/// # requests.shrink()?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct SharedCache<L, T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32 = 0> {
    lock: L,
    cache: UnsafeCell<ObjectCache<T, S, W, K, FRAMES>>,
}

// SAFETY: the cache is reached only inside `lock.with`, one closure at a time (RawLock), from whichever thread: it is
// `Send`.
unsafe impl<L, T, S, W, K, const FRAMES: u32> Sync for SharedCache<L, T, S, W, K, FRAMES>
where
    L: RawLock + Sync,
    T: Send,
    S: FrameSource + Send,
    W: PhysWindow + Send,
    K: Construct<T> + Send,
{
}

impl<L: RawLock, T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32>
    SharedCache<L, T, S, W, K, FRAMES>
{
    hectare_core::const_unless_loom! {
        /// This cache behind this lock. Objects that were taken before are given back by hand.
        #[must_use]
        pub fn new(lock: L, cache: ObjectCache<T, S, W, K, FRAMES>) -> Self {
            Self { lock, cache: UnsafeCell::new(cache) }
        }
    }

    /// Takes an object: new from the constructor, or as its last user left it.
    ///
    /// # Errors
    /// As [`ObjectCache::allocate`], or [`AllocError::Reentered`].
    pub fn take(&self) -> Result<SlabBox<'_, Self>, AllocError> {
        let object = self.with(ObjectCache::allocate)??;
        Ok(SlabBox { object, home: self })
    }

    /// As [`ObjectCache::reserve`].
    ///
    /// # Errors
    /// As [`ObjectCache::reserve`], or [`AllocError::Reentered`].
    pub fn reserve(&self, count: usize) -> Result<(), AllocError> {
        self.with(|cache| cache.reserve(count))?
    }

    /// Takes an object out of the reserve; `None` iff that is 0, or the lock is held further up this call stack.
    pub fn take_reserved(&self) -> Option<SlabBox<'_, Self>> {
        let object = self.with(ObjectCache::allocate_reserved).ok()??;
        Some(SlabBox { object, home: self })
    }

    /// As [`ObjectCache::shrink`].
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn shrink(&self) -> Result<u64, Reentered> {
        self.with(ObjectCache::shrink)
    }

    /// As [`ObjectCache::info`].
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn info(&self) -> Result<CacheInfo, Reentered> {
        self.with(|cache| cache.info())
    }

    /// Private: whoever could exchange the cache would leave boxes behind.
    fn with<R>(&self, f: impl FnOnce(&mut ObjectCache<T, S, W, K, FRAMES>) -> R) -> Result<R, Reentered> {
        self.lock.with(|| {
            self.cache.with_mut(|cache| {
                // SAFETY: the lock lets one closure in at a time (RawLock), so this is the only reference.
                f(unsafe { &mut *cache })
            })
        })
    }
}

/// Where the object of a [`SlabBox`] came from.
///
/// # Safety
/// A box's object stays valid and its user's alone until it is given back here.
pub unsafe trait Home {
    /// What it hands out.
    type Object;

    /// Takes an object back.
    ///
    /// # Safety
    /// The object was taken here and not given back, is valid, and nothing uses it any more.
    ///
    /// # Errors
    /// As [`ObjectCache::free`], or [`FreeError::Reentered`]: the object then stays handed out.
    unsafe fn give_back(&self, object: NonNull<Self::Object>) -> Result<(), FreeError>;
}

// SAFETY: the cache hands an object out once; it is borrowed by the box, so that it outlives it.
unsafe impl<L: RawLock, T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> Home
    for SharedCache<L, T, S, W, K, FRAMES>
{
    type Object = T;

    unsafe fn give_back(&self, object: NonNull<T>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        self.with(|cache| unsafe { cache.free(object) })?
    }
}

/// An object of a cache, given back when dropped: as it is then, and constructed for the next user.
///
/// Having one proves that the object is valid and nobody else's. If the cache's lock is held further up the call stack
/// when it is dropped, the object is leaked.
///
/// Where an object must be a plain pointer for a while, in an intrusive list or in a device's register, the box is taken
/// apart:
///
/// ```
/// # use hectare_core::NoLock;
/// # use hectare_slab::{ByDefault, ObjectCache, SharedCache};
/// # use hectare_testkit::stand_in::PlainFrames;
/// use hectare_slab::SlabBox;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
/// # let objects: ObjectCache<u64, _, _, ByDefault> = ObjectCache::new("descriptor", ByDefault, frames, window);
/// # let descriptors = SharedCache::new(NoLock::new(), objects);
///
/// let mut descriptor = descriptors.take()?;
/// *descriptor = 0x1000_0001;
/// let pointer = SlabBox::into_raw(descriptor); // gives nothing back: now this is our task
/// assert_eq!(descriptors.info()?.active_objects, 1);
///
/// // SAFETY: taken from `descriptors`, valid, and made a pointer just above: nobody else's.
/// let descriptor = unsafe { SlabBox::from_raw(pointer, &descriptors) };
/// assert_eq!(*descriptor, 0x1000_0001);
/// drop(descriptor);
/// assert_eq!(descriptors.info()?.active_objects, 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct SlabBox<'c, C: Home + ?Sized> {
    object: NonNull<C::Object>,
    home: &'c C,
}

// SAFETY: a box owns its object (`Object: Send`), and gives it back through a shared reference (`C: Sync`).
unsafe impl<C: Home + Sync + ?Sized> Send for SlabBox<'_, C> where C::Object: Send {}
// SAFETY: `&SlabBox` gives `&Object`.
unsafe impl<C: Home + Sync + ?Sized> Sync for SlabBox<'_, C> where C::Object: Sync {}

impl<'c, C: Home + ?Sized> SlabBox<'c, C> {
    /// A box of an object of this cache.
    ///
    /// # Safety
    /// The object was taken from `home`, is valid, and nobody else's.
    pub const unsafe fn from_raw(object: NonNull<C::Object>, home: &'c C) -> Self {
        Self { object, home }
    }

    /// The object, to be given back by hand.
    #[must_use]
    pub const fn into_raw(this: Self) -> NonNull<C::Object> {
        let object = this.object;
        core::mem::forget(this);
        object
    }
}

impl<C: Home + ?Sized> Deref for SlabBox<'_, C> {
    type Target = C::Object;

    fn deref(&self) -> &C::Object {
        // SAFETY: the object is valid and ours (`Home`), and borrowed with the box.
        unsafe { self.object.as_ref() }
    }
}

impl<C: Home + ?Sized> DerefMut for SlabBox<'_, C> {
    fn deref_mut(&mut self) -> &mut C::Object {
        // SAFETY: as above, mutably.
        unsafe { self.object.as_mut() }
    }
}

impl<C: Home + ?Sized> Drop for SlabBox<'_, C> {
    fn drop(&mut self) {
        // SAFETY: taken there (`from_raw`, `take`) and not given back; the box ends here.
        let _ = unsafe { self.home.give_back(self.object) };
    }
}

impl<C: Home + ?Sized> fmt::Debug for SlabBox<'_, C>
where
    C::Object: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<L, T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> fmt::Debug
    for SharedCache<L, T, S, W, K, FRAMES>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache").finish_non_exhaustive()
    }
}
