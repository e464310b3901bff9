//! Our caches: one for each of the recorded kernel's, a heap of size classes for its `kmalloc`, all over one buddy system.

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_buddy::{Bank, Banks, Engine, Frames, Rows64, words_for};
use hectare_core::{
    AllocError, ByteAllocator, DirectMap, Frame, FrameRun, Locked, NoLock, PageSize, PhysAddr, RawLock,
    SpinLock,
};
use hectare_slab::{CpuCache, CpuHeap, Fronted, Geometry, RawCache, SlabHeap};

use super::program::{ALIGN, Shape};
use super::subject::Subject;
use crate::frames::cpu::{ThreadCpu, enter};
use crate::subject::or_null;

/// log2 of the frames' size.
const FRAME: u8 = 12;
const PAGE: PageSize = PageSize::SIZE_4K;

/// Frames that many CPUs share.
pub(crate) type SharedFrames = Shared<SpinLock>;

pub(crate) type Shared<L> = Locked<L, Frames<'static, Rows64, FRAME>>;
type Raw<L> = RawCache<&'static Shared<L>, DirectMap>;

/// The arena as frames under a lock; the tables lie at its start.
pub(crate) struct Machine<L: RawLock + 'static> {
    pub(crate) frames: &'static Shared<L>,
    pub(crate) window: DirectMap,
    tables: usize,
    all: u64,
}

impl<L: RawLock + 'static> Machine<L> {
    /// # Safety
    /// The arena is valid, aligned to 2 MiB, and nobody else's as long as the result is used.
    pub(crate) unsafe fn new(arena: NonNull<[u8]>) -> Option<Self> {
        let start = arena.cast::<u8>();
        let (first, frames) = (start.addr().get() as u64 >> FRAME, arena.len() as u64 >> FRAME);
        let words = words_for::<Rows64>(FrameRun::new(Frame::new(first), frames)?)?;
        let tables = size_of::<Shared<L>>() + size_of::<Bank>() + words * size_of::<u64>();
        let used = tables.div_ceil(1 << FRAME) as u64;
        let run = FrameRun::new(Frame::new(first + used), frames.checked_sub(used)?)?;
        let shared = start.cast::<Shared<L>>();
        // SAFETY: the arena is ours, aligned to 2 MiB, and longer than the tables.
        let table = unsafe { shared.add(1) }.cast::<Bank>();
        // SAFETY: as above.
        unsafe { table.write(None) };
        // SAFETY: as above; the words begin behind the one bank.
        let at = unsafe { table.add(1) }.cast::<u64>();
        // SAFETY: as above; zeros are words.
        unsafe { at.write_bytes(0, words) };
        // SAFETY: written above; the arena outlives the subject (caller), and nobody else uses these bytes.
        let mut banks = Banks::new(unsafe { core::slice::from_raw_parts_mut(table.as_ptr(), 1) });
        banks.add(run).ok()?;
        // SAFETY: as above.
        let words = unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), words) };
        let engine = Engine::new(banks, words).ok()?;
        // SAFETY: the frames are the arena's, behind the tables, and nobody else's.
        let source = unsafe { Frames::new(engine) };
        let address = start.addr().get() as u64;
        // SAFETY: the arena, at the addresses where it is.
        let window = unsafe { DirectMap::new(start, PhysAddr::new(address), arena.len() as u64) }?;
        // SAFETY: as above.
        unsafe { shared.write(Locked::new(source)) };
        // SAFETY: written just now, and not moved.
        let frames = unsafe { shared.as_ref() };
        Some(Self { frames, window, tables, all: run.count() })
    }

    /// Bytes of the tables at the start of the arena.
    pub(crate) fn tables(&self) -> usize {
        self.tables
    }

    fn cache(&self, shape: &Shape) -> Option<Raw<L>> {
        let layout = Layout::from_size_align(shape.size as usize, ALIGN).ok()?;
        let geometry = Geometry::new(layout, PAGE).ok()?;
        Some(RawCache::new("recorded", geometry, self.frames, self.window))
    }

    /// Frames that are not free.
    fn missing(&self) -> Option<u64> {
        self.frames.with(|frames| self.all - frames.engine().free_frames()).ok()
    }
}

/// A cache of one owner.
pub(super) trait Owned: Sized {
    fn make(machine: &Machine<NoLock>, shape: &Shape) -> Option<Self>;
    fn take(&mut self) -> Result<NonNull<u8>, AllocError>;
    /// # Safety
    /// A live object of this cache.
    unsafe fn give(&mut self, object: NonNull<u8>) -> bool;
    fn reap(&mut self);
}

/// The cache alone: each bad free is refused at once.
impl Owned for Raw<NoLock> {
    fn make(machine: &Machine<NoLock>, shape: &Shape) -> Option<Self> {
        machine.cache(shape)
    }

    #[inline(always)]
    fn take(&mut self) -> Result<NonNull<u8>, AllocError> {
        self.allocate()
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.free(object) }.is_ok()
    }

    fn reap(&mut self) {
        self.shrink();
    }
}

/// With an array of free objects in front: 16 KiB of them, 2 to 31.
impl Owned for Fronted<Raw<NoLock>, 32> {
    fn make(machine: &Machine<NoLock>, shape: &Shape) -> Option<Self> {
        Some(Self::with_limit(machine.cache(shape)?, (16384 / shape.size as usize).clamp(2, 31)))
    }

    #[inline(always)]
    fn take(&mut self) -> Result<NonNull<u8>, AllocError> {
        self.allocate().map(NonNull::cast)
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.free(object.cast()) };
        true
    }

    fn reap(&mut self) {
        self.shrink();
    }
}

/// One owner: caches, and the heap of size classes.
pub(super) struct Alone<C> {
    caches: Vec<Option<C>>,
    heap: SlabHeap<&'static Shared<NoLock>, DirectMap>,
    machine: Machine<NoLock>,
}

/// Arrays of free objects before the caches.
pub(super) type Arrays = Alone<Fronted<Raw<NoLock>, 32>>;
/// The caches by themselves.
pub(super) type Caches = Alone<Raw<NoLock>>;

impl<C: Owned> Alone<C> {
    /// What a kernel does under memory pressure: every cache gives back what it can.
    #[cold]
    fn reap(&mut self) {
        self.caches.iter_mut().flatten().for_each(C::reap);
        self.heap.shrink();
    }

    #[inline(always)]
    fn take(&mut self, cache: usize, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.caches.get_mut(cache) {
            Some(Some(cache)) => cache.take(),
            _ => self.heap.allocate(layout),
        }
    }
}

// SAFETY: every request goes to the caches and the heap.
unsafe impl<C: Owned> Subject for Alone<C> {
    unsafe fn build(arena: NonNull<[u8]>, caches: &[Shape], _cpus: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let machine = unsafe { Machine::new(arena) }?;
        let make = |shape: &Shape| match shape.kmalloc {
            true => Some(None),
            false => C::make(&machine, shape).map(Some),
        };
        let caches = caches.iter().map(make).collect::<Option<Vec<_>>>()?;
        let heap = SlabHeap::new(machine.frames, machine.window);
        Some(Box::new(Self { caches, heap, machine }))
    }

    #[inline(always)]
    fn allocate(&mut self, cache: usize, layout: Layout) -> *mut u8 {
        match self.take(cache, layout) {
            Ok(object) => object.as_ptr(),
            Err(_) => {
                self.reap();
                or_null(self.take(cache, layout))
            }
        }
    }

    #[inline(always)]
    unsafe fn free(&mut self, cache: usize, object: *mut u8, layout: Layout) {
        // SAFETY: a live object is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        let taken = match self.caches.get_mut(cache) {
            // SAFETY: the caller's promise.
            Some(Some(cache)) => unsafe { cache.give(object) },
            // SAFETY: the caller's promise.
            _ => unsafe { self.heap.deallocate(object, layout) }.is_ok(),
        };
        debug_assert!(taken, "a live object was not taken back");
    }

    fn settle(&mut self) -> Option<u64> {
        self.reap();
        self.machine.missing()
    }

    fn metadata_bytes(&self) -> usize {
        self.outside_bytes() + self.machine.tables
    }

    fn outside_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.caches)
    }
}

/// One cache of objects of 64 bytes with an array in front, by itself.
pub(crate) struct Fronts {
    pub(crate) cache: Fronted<Raw<NoLock>, 64>,
}

impl Fronts {
    /// # Safety
    /// As [`Machine::new`].
    pub(crate) unsafe fn build(arena: NonNull<[u8]>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let machine = unsafe { Machine::new(arena) }?;
        let shape = Shape { name: String::new(), size: 64, kmalloc: false };
        Some(Self { cache: Fronted::new(machine.cache(&shape)?) })
    }
}

/// CPUs that have magazines.
const CPUS: usize = 4;

type PerCpu = CpuCache<ThreadCpu, SpinLock, Raw<SpinLock>, CPUS>;

/// Many CPUs: magazines for each, a front of the heap for each. The thread that replays is one recorded CPU after the other.
pub(super) struct Cpus {
    caches: Vec<Option<PerCpu>>,
    heap: CpuHeap<ThreadCpu, SpinLock, &'static Shared<SpinLock>, DirectMap, CPUS>,
    machine: Machine<SpinLock>,
    cpus: usize,
}

impl Cpus {
    /// Every CPU gives back what it can, one after the other.
    #[cold]
    fn reap(&mut self) {
        for cpu in (0..self.cpus).rev() {
            enter(cpu);
            for cache in self.caches.iter().flatten() {
                let _ = cache.shrink();
            }
            let _ = self.heap.shrink();
        }
    }

    #[inline(always)]
    fn take(&self, cache: usize, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.caches.get(cache) {
            Some(Some(cache)) => cache.allocate().map(NonNull::cast),
            _ => self.heap.allocate(layout),
        }
    }
}

// SAFETY: every request goes to the caches and the heap.
unsafe impl Subject for Cpus {
    unsafe fn build(arena: NonNull<[u8]>, caches: &[Shape], cpus: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let machine = unsafe { Machine::new(arena) }?;
        // SAFETY: one thread replays: it is one CPU at a time, and changes between operations only.
        let pin = unsafe { ThreadCpu::new(CPUS) };
        let make = |shape: &Shape| match shape.kmalloc {
            true => Some(None),
            false => Some(Some(CpuCache::new(pin, SpinLock::new(), machine.cache(shape)?))),
        };
        let caches = caches.iter().map(make).collect::<Option<Vec<_>>>()?;
        let heap = CpuHeap::new(pin, SpinLock::new(), machine.frames, machine.window);
        enter(0);
        Some(Box::new(Self { caches, heap, machine, cpus: cpus.min(CPUS) }))
    }

    fn enter(&mut self, cpu: usize) {
        enter(cpu);
    }

    #[inline(always)]
    fn allocate(&mut self, cache: usize, layout: Layout) -> *mut u8 {
        match self.take(cache, layout) {
            Ok(object) => object.as_ptr(),
            Err(_) => {
                self.reap();
                or_null(self.take(cache, layout))
            }
        }
    }

    #[inline(always)]
    unsafe fn free(&mut self, cache: usize, object: *mut u8, layout: Layout) {
        // SAFETY: a live object is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        let result = match self.caches.get(cache) {
            // SAFETY: the caller's promise.
            Some(Some(cache)) => unsafe { cache.free(object.cast()) },
            // SAFETY: the caller's promise.
            _ => unsafe { self.heap.free(object, layout) },
        };
        debug_assert!(result.is_ok(), "a live object was not taken back");
    }

    fn settle(&mut self) -> Option<u64> {
        self.reap();
        self.machine.missing()
    }

    fn metadata_bytes(&self) -> usize {
        self.outside_bytes() + self.machine.tables
    }

    fn outside_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.caches)
    }
}
