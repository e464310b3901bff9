//! The heaps of a process together: table, pool, who is there, and what does not belong to one thread.
#![expect(unsafe_code, reason = "makes heaps in fresh memory, and frees large blocks")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::heap::Heap;
use super::lock::Locked;
use super::map::{Entry, Map, OWNERS};
use super::pool::{LONGEST_RUN, Pool};
use super::sizes::Sizes;
use super::span::{GRANULE, Span, span_of};
use super::system::System;
use crate::free::{HARDENED, set_key};
use crate::size_class::size_of_class;

/// Milliseconds between two ticks.
const TICK: u64 = 150;

/// Heaps that one block of pointers is for.
const PLACES: usize = if cfg!(miri) { 8 } else { 128 };

/// Pointers to heaps: null, or a heap, which lives for ever.
type Places = [AtomicPtr<Heap>; PLACES];

/// Everything that threads share.
#[derive(Debug)]
pub(crate) struct Process<S: System> {
    pub(crate) system: S,
    pub(crate) map: Map,
    /// Beside the map, on whose page every program is anyway.
    pub(super) sizes: Sizes,
    pub(crate) pool: Locked<Pool>,
    /// Where the heap with each number is: blocks that are made when they are needed (a program's image would hold them
    /// all, were they here), null or for ever.
    heaps: [AtomicPtr<Places>; OWNERS as usize / PLACES],
    count: AtomicU32,
    /// Heaps whose thread has ended.
    away: AtomicU32,
    ticked: AtomicU64,
    /// Frees of what is no block.
    pub(crate) rejected: AtomicU64,
}

/// A new block; whether it is known to be zero.
pub(crate) type Fresh = Option<(NonNull<u8>, bool)>;

impl<S: System> Process<S> {
    pub(crate) const fn new(system: S) -> Self {
        Self {
            system,
            map: Map::new(),
            sizes: Sizes::ALL,
            pool: Locked::new(Pool::new()),
            heaps: [const { AtomicPtr::new(core::ptr::null_mut()) }; OWNERS as usize / PLACES],
            count: AtomicU32::new(0),
            away: AtomicU32::new(0),
            ticked: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_pool<R>(&self, f: impl FnOnce(&Pool) -> R) -> R {
        self.pool.with(&self.system, f)
    }

    /// Makes the table, once.
    fn prepare(&self) -> bool {
        self.map.is_ready()
            || self.with_pool(|_| {
                if !self.map.is_ready() {
                    if HARDENED {
                        set_key(self.system.secret());
                    }
                    match self.system.table() {
                        Some(table) => self.map.set(table),
                        None => return false,
                    }
                }
                true
            })
    }

    /// A heap for a thread: one that was left, or a new one.
    pub(crate) fn enter(&self) -> Option<&'static Heap> {
        if !self.prepare() {
            return None;
        }
        if self.away.load(Ordering::Relaxed) > 0 {
            for number in 1..=self.count.load(Ordering::Acquire) {
                if let Some(heap) = self.heap(number) {
                    if heap.mail.presence.claim() {
                        self.away.fetch_sub(1, Ordering::Relaxed);
                        return Some(heap);
                    }
                }
            }
        }
        self.with_pool(|pool| {
            let number = self.count.load(Ordering::Relaxed) + 1;
            let place = self.place(pool, number)?;
            let memory = pool.descriptor(&self.system, size_of::<Heap>())?;
            // SAFETY: zeroed memory of that size, aligned to 64, ours for ever.
            let heap = unsafe { Heap::begin(memory, number) };
            place.store(core::ptr::from_ref(heap).cast_mut(), Ordering::Release);
            self.count.store(number, Ordering::Release);
            Some(heap)
        })
    }

    /// Where the pointer to the heap with this number is to be.
    fn place(&self, pool: &Pool, number: u32) -> Option<&'static AtomicPtr<Heap>> {
        let block = self.heaps.get(number as usize / PLACES)?;
        let mut places = block.load(Ordering::Relaxed);
        if places.is_null() {
            places = pool.descriptor(&self.system, size_of::<Places>())?.cast().as_ptr();
            block.store(places, Ordering::Release);
        }
        // SAFETY: (1) zeroed memory of that size, aligned to 64, ours for ever; (2) zeros are null pointers.
        unsafe { &*places }.get(number as usize % PLACES)
    }

    /// The thread that used this heap has gone: its caches go to their spans, its empty spans to the pool.
    pub(crate) fn leave(&self, heap: &'static Heap) {
        heap.flush_all(self);
        self.away.fetch_add(1, Ordering::Relaxed);
        self.put_back(heap);
    }

    /// Leaves a heap that was claimed, with nothing in its box.
    pub(crate) fn put_back(&self, heap: &'static Heap) {
        while heap.mail.presence.leave(&heap.mail.inbox) {
            if !heap.mail.presence.claim() {
                return;
            }
            heap.tend(self);
        }
    }

    /// The heap with this number.
    pub(crate) fn heap(&self, number: u32) -> Option<&'static Heap> {
        let places = self.heaps.get(number as usize / PLACES)?.load(Ordering::Acquire);
        // SAFETY: null, or a block, which lives for ever (`place`).
        let heap = unsafe { places.as_ref() }?.get(number as usize % PLACES)?.load(Ordering::Acquire);
        // SAFETY: null, or a heap, which lives for ever.
        unsafe { heap.as_ref() }
    }

    /// A heap that nobody uses, claimed: one of a few after number `from`. To be [`put_back`](Self::put_back).
    pub(crate) fn claim_away(&self, from: u32) -> Option<(u32, &'static Heap)> {
        let count = self.count.load(Ordering::Acquire);
        if self.away.load(Ordering::Relaxed) == 0 || count == 0 {
            return None;
        }
        (0..8.min(count)).find_map(|step| {
            let number = (from + step) % count + 1;
            let heap = self.heap(number)?;
            heap.mail.presence.claim().then_some((number, heap))
        })
    }

    /// Ticks, if it is time.
    pub(crate) fn tick(&self, now: u64) {
        let last = self.ticked.load(Ordering::Relaxed);
        if now.wrapping_sub(last) >= TICK
            && self.ticked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.with_pool(|pool| pool.tick(&self.system, &self.map, false));
        }
    }

    /// Whether `now` is a tick after `then`.
    pub(crate) fn is_tick(then: u64, now: u64) -> bool {
        now.wrapping_sub(then) >= TICK
    }

    /// A block that no class serves. `align` is a power of two.
    #[cold]
    pub(crate) fn allocate_large(&self, size: usize, align: usize) -> Fresh {
        if !self.prepare() {
            return None;
        }
        self.tick(self.system.millis());
        let bytes = size.max(1).checked_next_multiple_of(GRANULE)?;
        if bytes > isize::MAX as usize - align {
            return None;
        }
        if bytes <= LONGEST_RUN * GRANULE && align <= GRANULE {
            return self.with_pool(|pool| {
                let (span, zero) = pool.take_run(&self.system, bytes / GRANULE)?;
                // SAFETY: taken above.
                unsafe { pool.mark_large(&self.system, &self.map, span) };
                Some((span.base(), zero))
            });
        }
        // Longer than one granule, so that no two begin in the same one.
        let bytes = bytes.max(2 * GRANULE);
        self.with_pool(|pool| pool.mappings.take(&self.system, &self.map, bytes, align.max(4096)))
    }

    /// Frees a large block.
    ///
    /// # Safety
    /// `block` is live, and `entry` what the table says about it: large or huge.
    #[cold]
    pub(crate) unsafe fn free_large(&self, block: NonNull<u8>, entry: Entry) {
        if HARDENED {
            self.check_start(block, entry);
        }
        let now = self.system.millis();
        self.with_pool(|pool| match entry {
            Entry::Huge(record) => {
                // SAFETY: live and given up by the caller.
                unsafe { pool.mappings.give(&self.system, &self.map, record) };
            }
            _ => {
                // SAFETY: a large block begins at a granule of a chunk.
                let span = unsafe { span_of(block) };
                // SAFETY: the block's own granule.
                unsafe { self.map.write(&self.system, block.as_ptr().addr(), 1, Entry::Nothing) };
                // SAFETY: live and given up by the caller; the table says nothing now.
                unsafe { pool.give_run(span) };
            }
        });
        self.tick(now);
    }

    /// Hardened: a large block is freed at its start.
    fn check_start(&self, block: NonNull<u8>, entry: Entry) {
        let start = self.start_of(block, entry);
        if start != Some(block) {
            self.system.misused("free inside a large block");
        }
    }

    fn start_of(&self, block: NonNull<u8>, entry: Entry) -> Option<NonNull<u8>> {
        match entry {
            Entry::Huge(record) => self.with_pool(|pool| pool.mappings.get(record)).map(|found| found.0),
            // SAFETY: the table says that a large block begins in this granule of a chunk.
            _ => Some(unsafe { span_of(block) }.base()),
        }
    }

    /// The bytes of a live block.
    ///
    /// # Safety
    /// The block is live, and `entry` what the table says about it.
    pub(crate) unsafe fn usable(&self, block: NonNull<u8>, entry: Entry) -> usize {
        match entry {
            Entry::Small { class, .. } => size_of_class(class),
            // SAFETY: a large block begins at a granule of a chunk.
            Entry::Large => unsafe { span_of(block) }.bytes(),
            Entry::Huge(record) => {
                self.with_pool(|pool| pool.mappings.get(record)).map_or(0, |(_, bytes)| bytes)
            }
            Entry::Nothing => 0,
        }
    }

    /// Makes a large block longer or shorter without copying; `None` if that is not possible.
    ///
    /// # Safety
    /// The block is live, `entry` what the table says about it; after `Some` only the returned place is used.
    pub(crate) unsafe fn resize_large(
        &self,
        block: NonNull<u8>,
        entry: Entry,
        size: usize,
    ) -> Option<NonNull<u8>> {
        let bytes = size.checked_next_multiple_of(GRANULE).filter(|bytes| *bytes <= isize::MAX as usize)?;
        let run = bytes <= LONGEST_RUN * GRANULE;
        match entry {
            Entry::Large if run => self.with_pool(|pool| {
                // SAFETY: a large block begins at a granule of a chunk.
                let span: &Span = unsafe { span_of(block) };
                let same = usize::from(span.granules.get()) * GRANULE == bytes;
                // SAFETY: a live large block, its tail given up by the caller.
                (same || unsafe { pool.resize_run(span, bytes / GRANULE) }).then_some(block)
            }),
            Entry::Huge(record) if !run => self.with_pool(|pool| {
                // SAFETY: the caller's promises.
                unsafe { pool.mappings.resize(&self.system, &self.map, record, bytes) }
            }),
            _ => None,
        }
    }

    /// Bytes in use: of spans and blocks, of mappings, and of address space that chunks hold.
    pub(crate) fn bytes(&self) -> [usize; 3] {
        self.with_pool(|pool| [pool.in_use.get() * GRANULE, pool.mappings.in_use.get(), pool.mapped.get()])
    }
}
