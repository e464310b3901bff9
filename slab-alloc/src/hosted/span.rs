//! Chunks of 4 MiB, cut into granules of 64 KiB; spans of one or four granules, cut into equal objects.
//!
//! ```text
//!  chunk   │ head │ span 1 │ span 2 │ … │ span 63 │ … unused │ granule 1 │ granule 2 │ …  │ granule 63 │
//!          └───────────── one page of 4 KiB ──────┘          │           │
//!          └─────────────────── granule 0 ───────────────────┘           │
//!  span                                          │ object │ object │ … carved so far │ never touched │ rest │
//! ```
//! The descriptor of an object's span is found by masking the object's address; only slow paths do. An object of a class of
//! size s lies at a multiple of s from a multiple of 64 KiB: that aligns it as `size_class` promises.
#![expect(unsafe_code, reason = "finds descriptors by masks, and cuts spans into objects")]

use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::free::{Chain, Free};
use crate::size_class::size_of_class;

pub(crate) const GRANULE_LOG2: u32 = 16;
/// Bytes of a granule: what the table has a word for.
pub(crate) const GRANULE: usize = 1 << GRANULE_LOG2;
/// Bytes of a chunk, and its alignment.
pub(crate) const CHUNK: usize = 64 * GRANULE;
/// Bytes of the descriptors at the start of a chunk.
pub(crate) const HEAD: usize = 4096;

/// The granules of a span of this class: at least eight objects.
pub(crate) const fn granules_of(class: usize) -> usize {
    if size_of_class(class) > 8192 { 4 } else { 1 }
}

/// Descriptor of a run of granules in use: a span of small objects, or one large block.
///
/// * `free` holds the objects that are free and in no chain, box or batch; all of them were carved.
/// * `used` = carved objects that are not in `free`.
/// * All fields but `lead` are meaningful at the run's first granule only; they belong to the heap that owns the span, or
///   to the holder of the pool's lock.
#[repr(C, align(64))]
pub(crate) struct Span {
    pub(crate) free: Chain,
    pub(crate) next: Cell<*const Span>,
    pub(crate) prev: Cell<*const Span>,
    base: Cell<*mut u8>,
    pub(crate) used: Cell<u32>,
    pub(crate) carved: Cell<u32>,
    pub(crate) capacity: Cell<u32>,
    pub(crate) class: Cell<u8>,
    /// Granules of the run.
    pub(crate) granules: Cell<u8>,
    /// How many granules before this one the run begins.
    pub(crate) lead: Cell<u8>,
    /// Whether it is in its heap's list of spans with free objects.
    pub(crate) listed: Cell<bool>,
}

/// Which granules of a chunk are free, and which of these hold old contents. Under the pool's lock.
#[repr(C, align(64))]
pub(crate) struct Head {
    /// Bit i: granule i is free.
    pub(crate) free: Cell<u64>,
    /// Free, and not known to be zero.
    pub(crate) dirty: Cell<u64>,
    /// Dirty since before the last tick.
    pub(crate) old: Cell<u64>,
    pub(crate) next: Cell<*const Chunk>,
    pub(crate) prev: Cell<*const Chunk>,
    /// All chunks are linked in one list.
    pub(crate) all_next: Cell<*const Chunk>,
    base: Cell<*mut u8>,
    /// log2 of the longest free run; 7 if there is none.
    pub(crate) longest: Cell<u8>,
}

#[repr(C)]
pub(crate) struct Chunk {
    pub(crate) head: Head,
    spans: [Span; 63],
}

const _: () = assert!(size_of::<Chunk>() == HEAD && size_of::<Head>() == size_of::<Span>());

impl Chunk {
    /// Makes a chunk of zeroed memory.
    ///
    /// # Safety
    /// `base` is a chunk's worth of zeroed memory, so aligned, that is ours for ever.
    pub(crate) unsafe fn begin(base: NonNull<u8>) -> &'static Self {
        // SAFETY: (1) aligned, long enough, ours for ever (caller); (2) zeros are a chunk: cells of numbers and null
        // pointers; (3) only shared references to it are made, and all of its fields are cells.
        let chunk: &'static Self = unsafe { base.cast::<Self>().as_ref() };
        chunk.head.free.set(!1);
        chunk.head.base.set(base.as_ptr());
        chunk
    }

    /// The first byte of granule `index`, 1 to 63.
    pub(crate) fn granule(&self, index: usize) -> NonNull<u8> {
        let base = self.head.base.get().wrapping_add(index * GRANULE);
        // A chunk's base is not null, and neither is what lies above.
        NonNull::new(base).unwrap_or(NonNull::dangling())
    }

    /// The descriptor of granule `index`, 1 to 63.
    pub(crate) fn span(&self, index: usize) -> Option<&Span> {
        self.spans.get(index.wrapping_sub(1))
    }
}

/// The chunk of an address, and the granule's number in it.
///
/// # Safety
/// The address is in a chunk, behind its head, and its pointer may reach the whole chunk, as all pointers to objects do.
pub(crate) unsafe fn chunk_of(object: NonNull<u8>) -> (&'static Chunk, usize) {
    let address = object.as_ptr().addr();
    let base = object.as_ptr().map_addr(|address| address & !(CHUNK - 1)).cast::<Chunk>();
    // SAFETY: the chunk lives for ever (`Chunk::begin`), and only shared references to its head exist.
    (unsafe { &*base }, (address & (CHUNK - 1)) >> GRANULE_LOG2)
}

/// The descriptor of the span or large block at this address.
///
/// # Safety
/// As [`chunk_of`], and the granule is in use.
pub(crate) unsafe fn span_of(object: NonNull<u8>) -> &'static Span {
    let address = object.as_ptr().addr();
    // The head is as long as a descriptor, so that of granule i is the i-th of 64.
    let descriptors = object.as_ptr().map_addr(|address| address & !(CHUNK - 1)).cast::<Span>();
    let own = descriptors.wrapping_add((address & (CHUNK - 1)) >> GRANULE_LOG2);
    // SAFETY: the granule is 1 to 63 (caller): its descriptor, which lives for ever; only shared references exist.
    let lead = unsafe { &*own }.lead.get();
    // SAFETY: as above: the run begins so many granules before.
    unsafe { &*own.wrapping_sub(usize::from(lead)) }
}

impl Span {
    /// Begins anew as a run of so many granules at this granule of its chunk.
    pub(crate) fn begin_run(chunk: &'static Chunk, index: usize, granules: usize) -> Option<&'static Self> {
        #[expect(clippy::cast_possible_truncation, reason = "at most 63 granules in a run")]
        for lead in 0..granules {
            chunk.span(index + lead)?.lead.set(lead as u8);
        }
        let span = chunk.span(index)?;
        span.base.set(chunk.granule(index).as_ptr());
        #[expect(clippy::cast_possible_truncation, reason = "at most 63 granules in a run")]
        span.granules.set(granules as u8);
        let _ = span.free.take();
        span.used.set(0);
        span.carved.set(0);
        span.capacity.set(0);
        span.listed.set(false);
        Some(span)
    }

    /// Begins as a span of this class, nothing carved.
    pub(crate) fn begin_class(&self, class: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 256 classes, spans far below 4 GiB")]
        {
            self.class.set(class as u8);
            self.capacity.set((usize::from(self.granules.get()) * GRANULE / size_of_class(class)) as u32);
        }
        self.used.set(0);
        self.carved.set(0);
        let _ = self.free.take();
    }

    /// Where the run begins.
    pub(crate) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.base.get()).unwrap_or(NonNull::dangling())
    }

    pub(crate) fn bytes(&self) -> usize {
        usize::from(self.granules.get()) * GRANULE
    }

    /// Cuts the next objects off and puts them into an empty chain, lowest address first: up to the end of a page, at
    /// least one. They count as used. Returns how many.
    pub(crate) fn carve(&self, into: &Chain, mark: impl Fn(&Free)) -> u32 {
        let size = size_of_class(usize::from(self.class.get()));
        let carved = self.carved.get();
        let left = self.capacity.get() - carved;
        let start = carved as usize * size;
        let fit = ((start / 4096 + 1) * 4096 - start) / size;
        #[expect(clippy::cast_possible_truncation, reason = "at most 512 objects in a page")]
        let count = left.min(fit.max(1) as u32);
        for index in (carved..carved + count).rev() {
            // SAFETY: index < capacity, so the object ends inside the run.
            let object = unsafe { self.base().add(index as usize * size) };
            // SAFETY: (1) inside the run, which is mapped; sizes are multiples of 8; (2) carved now, and never before since
            // the span began.
            let object = unsafe { Free::new(object) };
            mark(&object);
            into.push(object);
        }
        self.carved.set(carved + count);
        self.used.set(self.used.get() + count);
        count
    }
}

/// A doubly linked list of spans, through `next` and `prev`. A span is in at most one.
#[derive(Debug)]
pub(crate) struct Spans(Cell<*const Span>);

impl Spans {
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    pub(crate) const EMPTY: Self = Self(Cell::new(ptr::null()));

    pub(crate) fn first(&self) -> Option<&'static Span> {
        reference(self.0.get())
    }

    pub(crate) fn push(&self, span: &'static Span) {
        let next = self.0.get();
        span.prev.set(ptr::null());
        span.next.set(next);
        if let Some(next) = reference(next) {
            next.prev.set(span);
        }
        self.0.set(span);
        span.listed.set(true);
    }

    pub(crate) fn remove(&self, span: &'static Span) {
        let (prev, next) = (span.prev.get(), span.next.get());
        match reference(prev) {
            Some(prev) => prev.next.set(next),
            None => self.0.set(next),
        }
        if let Some(next) = reference(next) {
            next.prev.set(prev);
        }
        span.listed.set(false);
    }
}

/// A link of a list.
pub(crate) fn reference(span: *const Span) -> Option<&'static Span> {
    // SAFETY: links are null or came from a `&'static Span` in the functions above.
    unsafe { span.as_ref() }
}

/// A link of a list of chunks.
pub(crate) fn chunk_reference(chunk: *const Chunk) -> Option<&'static Chunk> {
    // SAFETY: links are null or came from a `&'static Chunk`.
    unsafe { chunk.as_ref() }
}
