//! How a slab is cut: where the objects lie, where the header, and how much is left over.
//!
//! ```text
//!  0      colour                                                        header        slab_bytes
//!  ├╌╌╌╌╌╌┼──────────┬──────────┬──────────┬╌╌┬──────────┬╌╌╌╌╌╌╌╌╌╌╌╌╌╌┼──────┬──────┤
//!  │      │ object 0 │ object 1 │ object 2 │  │ count−1  │ rest of the  │header│bitmap│
//!  ├╌╌╌╌╌╌┼──────────┴──────────┴──────────┴╌╌┴──────────┤ colours      │      │      │
//!           stride each                                                   └ header_bytes ┘
//! ```
//! The colour moves the objects of each new slab by another multiple of a cache line, as far as the bytes left over
//! allow (Bonwick, "The Slab Allocator: An Object-Caching Kernel Memory Allocator", USENIX Summer 1994, section 4).
#![forbid(unsafe_code)]

use core::alloc::Layout;

use hectare_core::{FrameRequest, Order, PageSize};
use thiserror::Error;

/// Bits in a word of a slab's bitmap.
pub(crate) const BITS: usize = usize::BITS as usize;

/// Most objects in a slab: one word tells which words of the bitmap have free objects.
pub const MAX_OBJECTS: usize = BITS * BITS;

/// The bytes of a slab's header before its bitmap; `slab` asserts it.
pub(crate) const HEADER_BYTES: usize = if BITS == 64 { 40 } else { 28 };

/// The largest slab, in bytes.
pub const MAX_SLAB_BYTES: u64 = 1 << 24;

/// Colours differ by a multiple of this: a cache line of most machines.
const LINE: usize = 64;

/// Why objects cannot be cut from such slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// A slab must have at least one frame and at most [`MAX_SLAB_BYTES`].
    #[error("a slab of that many frames is empty or too large")]
    Slab,
    /// Not one object and the header fit into the slab.
    #[error("the slab is too small for one object and its header")]
    TooSmall,
    /// The objects' alignment exceeds the slab's.
    #[error("the alignment exceeds that of the slab")]
    Alignment,
    /// The size of the slab times that of the object exceeds 2^40 bytes².
    #[error("the objects are too large for so large a slab")]
    TooLarge,
}

/// How the slabs of one cache are cut. Having one proves that such slabs work:
/// * `count` objects, from 1 to [`MAX_OBJECTS`], and the header lie in the slab without overlap, whatever the colour;
/// * every object is aligned as asked if the slab is aligned to its size, rounded up to a power of two.
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::PageSize;
/// use hectare_slab::{Geometry, GeometryError};
///
/// // Linux's task_struct of 6784 bytes. In a `const`, what cannot work does not compile.
/// const TASK: Geometry = match Layout::from_size_align(6784, 64) {
///     Ok(layout) => match Geometry::new(layout, PageSize::SIZE_4K) {
///         Ok(geometry) => geometry,
///         Err(_) => panic!("no slab holds a task"),
///     },
///     Err(_) => panic!("no such layout"),
/// };
/// assert_eq!((TASK.frames(), TASK.objects(), TASK.tail()), (16, 9, 4480)); // 7 % of a slab left over
/// assert_eq!(TASK.colours(), 70); // places of the first object, a cache line apart
///
/// // The choice is yours: smaller requests to the source, for more bytes left over.
/// let small = Geometry::with_frames(Layout::from_size_align(6784, 64)?, PageSize::SIZE_4K, 2)?;
/// assert_eq!((small.objects(), small.tail()), (1, 1408));
/// let none = Geometry::with_frames(Layout::from_size_align(6784, 64)?, PageSize::SIZE_4K, 1);
/// assert_eq!(none, Err(GeometryError::TooSmall));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) stride: usize,
    pub(crate) count: usize,
    pub(crate) header: usize,
    pub(crate) slab_bytes: usize,
    /// ⌈2^40 / stride⌉: `index = offset · reciprocal >> 40` for every offset in a slab.
    reciprocal: u64,
    colours: u32,
    colour_step: u32,
    frames: u32,
    frame_log2: u8,
}

impl Geometry {
    /// The geometry of the smallest slab of 2^k frames that leaves at most an eighth of itself over, header included; if
    /// none of up to 64 frames does, of the one that leaves least.
    ///
    /// # Errors
    /// Fails iff [`with_frames`](Self::with_frames) does for every such number of frames; the error is the last one's.
    pub const fn new(object: Layout, frame: PageSize) -> Result<Self, GeometryError> {
        let mut best: Result<Self, GeometryError> = Err(GeometryError::Slab);
        let mut order = 0;
        while order <= 6 {
            match (Self::with_frames(object, frame, 1 << order), best) {
                (Ok(this), _) if this.tail() * 8 <= this.slab_bytes => return Ok(this),
                (Ok(this), Ok(before)) => {
                    if (this.tail() as u64) * (before.slab_bytes as u64)
                        < (before.tail() as u64) * (this.slab_bytes as u64)
                    {
                        best = Ok(this);
                    }
                }
                (this, Err(_)) => best = this,
                (Err(_), Ok(_)) => {}
            }
            order += 1;
        }
        best
    }

    /// The geometry of slabs of exactly `frames` frames.
    ///
    /// # Errors
    /// Fails iff there is no such slab, or not one object fits into it; see [`GeometryError`].
    pub const fn with_frames(object: Layout, frame: PageSize, frames: u32) -> Result<Self, GeometryError> {
        if frames == 0 || frame.log2() > 24 || (frames as u64) << frame.log2() > MAX_SLAB_BYTES {
            return Err(GeometryError::Slab);
        }
        let slab_bytes = (frames as usize) << frame.log2();
        let size = if object.size() == 0 { 1 } else { object.size() };
        let align = object.align();
        if align > slab_bytes.next_power_of_two() {
            return Err(GeometryError::Alignment);
        }
        if size > slab_bytes {
            return Err(GeometryError::TooSmall);
        }
        let stride = size.next_multiple_of(align);
        if (stride as u64) * (slab_bytes as u64) > 1 << 40 {
            return Err(GeometryError::TooLarge);
        }
        let mut count = slab_bytes / stride;
        if count > MAX_OBJECTS {
            count = MAX_OBJECTS;
        }
        while count > 0 && count * stride + header_bytes(count) > slab_bytes {
            count -= 1;
        }
        // The header needs the alignment of a word, which small frames need not have at their end.
        let header = (slab_bytes.saturating_sub(header_bytes(count))) & !(size_of::<usize>() - 1);
        if count == 0 || count * stride > header || slab_bytes < size_of::<usize>() {
            return Err(GeometryError::TooSmall);
        }
        let step = if align > LINE { align } else { LINE };
        #[expect(clippy::cast_possible_truncation, reason = "both are at most the slab's 2^24 bytes")]
        let (colours, colour_step) = (((header - count * stride) / step + 1) as u32, step as u32);
        Ok(Self {
            size,
            align,
            stride,
            count,
            header,
            slab_bytes,
            reciprocal: (1u64 << 40).div_ceil(stride as u64),
            colours,
            colour_step,
            frames,
            frame_log2: frame.log2(),
        })
    }

    /// Bytes of an object, at least 1.
    #[must_use]
    pub const fn object_size(&self) -> usize {
        self.size
    }

    /// The alignment of an object in bytes.
    #[must_use]
    pub const fn object_align(&self) -> usize {
        self.align
    }

    /// Bytes from one object to the next: the size, rounded up to the alignment.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Objects in a slab.
    #[must_use]
    pub const fn objects(&self) -> usize {
        self.count
    }

    /// Frames in a slab.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes in a slab.
    #[must_use]
    pub const fn slab_bytes(&self) -> usize {
        self.slab_bytes
    }

    /// The size of the frames that this geometry was made for.
    #[must_use]
    pub const fn frame_size(&self) -> PageSize {
        match PageSize::from_log2(self.frame_log2) {
            Some(size) => size,
            None => PageSize::SIZE_4K,
        }
    }

    /// Bytes of a slab that are part of no object: the header, and the room for the colours.
    #[must_use]
    pub const fn tail(&self) -> usize {
        self.slab_bytes - self.count * self.stride
    }

    /// How many places the first object may have.
    #[must_use]
    pub const fn colours(&self) -> u32 {
        self.colours
    }

    /// Where the first object lies in the `nth` slab. At most `header − count · stride`.
    pub(crate) const fn colour(&self, nth: u32) -> u32 {
        nth % self.colours * self.colour_step
    }

    /// Words of the bitmap.
    pub(crate) const fn words(&self) -> usize {
        self.count.div_ceil(BITS)
    }

    /// What a slab asks of its source. The alignment makes a header found by masking an address.
    pub(crate) const fn request(&self) -> FrameRequest {
        let (count, align) =
            match (core::num::NonZero::new(self.frames as u64), Order::holding(self.frames as u64)) {
                (Some(count), Some(align)) => (count, align),
                _ => (core::num::NonZero::<u64>::MIN, Order::ZERO),
            };
        FrameRequest { count, align }
    }

    /// The bits of an address that are the offset into a slab's aligned place.
    pub(crate) const fn mask(&self) -> u64 {
        (self.slab_bytes as u64).next_power_of_two() - 1
    }

    /// The index of the object that begins `offset` bytes after object 0; `None` if none begins there.
    ///
    /// Exact: with `m = ⌈2^40 / d⌉`, `offset · m / 2^40` exceeds `offset / d` by less than `offset / 2^40 ≤ 1 / d`, since
    /// the offset is below the slab's size, and that times `d` is at most 2^40 (`with_frames`). An offset beyond the slab
    /// gives any number, which is no object's, or not at this offset.
    #[inline(always)]
    pub(crate) const fn index_of(&self, offset: usize) -> Option<usize> {
        let index = ((offset as u64).wrapping_mul(self.reciprocal) >> 40) as usize;
        if index < self.count && index * self.stride == offset { Some(index) } else { None }
    }
}

/// Bytes of the header with its bitmap for `count` objects.
const fn header_bytes(count: usize) -> usize {
    HEADER_BYTES + count.div_ceil(BITS) * size_of::<usize>()
}

#[cfg(test)]
mod tests;
