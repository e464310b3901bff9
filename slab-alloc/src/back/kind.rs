//! How the blocks of each class are made: in slabs, or of whole frames.
#![forbid(unsafe_code)]

use core::alloc::Layout;
use core::num::NonZero;

use hectare_core::PageSize;

use crate::geometry::Geometry;
use crate::size_class::{CLASSES, size_of_class};

/// How the blocks of a class are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// In slabs.
    Slabs(Geometry),
    /// Each a run of so many frames.
    Frames(NonZero<u64>),
}

/// The kinds of all classes, for frames of one size.
pub(crate) const fn kinds(frame: PageSize) -> [Kind; CLASSES] {
    let mut kinds = [Kind::Frames(NonZero::<u64>::MIN); CLASSES];
    let mut class = 0;
    while class < CLASSES {
        kinds[class] = kind(size_of_class(class), frame);
        class += 1;
    }
    kinds
}

/// Slabs have at least so many bytes: fewer make more headers, more leave more of each class's last slab unused.
const LEAST_SLAB: usize = 2048;

/// Larger slabs are for classes only that nothing else can be made of.
const LARGE_SLAB: usize = 1 << 15;

/// Slabs of 2^k frames, the smallest that leave at most an eighth over; or blocks of whole frames without a header, if they
/// leave so little sooner. Other numbers of frames are for classes that they fit exactly or that need large slabs otherwise:
/// what they leave of an aligned place is hard to use for others. There is always a way for frames of 4 KiB and less (asserted
/// below).
const fn kind(size: usize, frame: PageSize) -> Kind {
    let least = 1 << frame.log2();
    if frame.log2() <= 15 && size % least == 0 {
        return runs(size / least);
    }
    // The class is aligned to its largest power of two, as far as slabs are.
    let align = 1 << size.trailing_zeros();
    let Ok(layout) = Layout::from_size_align(size, align) else { panic!("a class has a layout") };
    let mut best: Option<Geometry> = None;
    let mut frames = 1;
    while frames <= 1 << 10 && frame.log2() <= 24 {
        let bytes = (frames as usize) << frame.log2();
        // Rather a number of frames that is no power of two than a slab that small memories do not have.
        let whole = if bytes > LARGE_SLAB { size.div_ceil(least) } else { frames as usize };
        if whole * least >= size && (whole * least - size) * 8 <= whole * least {
            return runs(whole);
        }
        if let Ok(this) = Geometry::with_frames(layout, frame, frames) {
            if this.tail() * 8 <= bytes && bytes >= LEAST_SLAB {
                return Kind::Slabs(this);
            }
            // Frames so large that a bitmap cannot name all objects of one: the least waste then.
            best = match best {
                Some(best) if best.tail() * this.slab_bytes() <= this.tail() * best.slab_bytes() => {
                    Some(best)
                }
                _ => Some(this),
            };
        }
        frames *= 2;
    }
    match best {
        Some(best) => Kind::Slabs(best),
        None => panic!("frames of that size cannot be cut"),
    }
}

const fn runs(frames: usize) -> Kind {
    match NonZero::new(frames as u64) {
        Some(count) => Kind::Frames(count),
        None => panic!("a block has frames"),
    }
}

// The bound on what is left over, for every class.
const _: () = {
    let mut log2 = 10;
    while log2 <= 12 {
        let Some(frame) = PageSize::from_log2(log2) else { panic!("a size of frames") };
        let kinds = kinds(frame);
        let mut class = 0;
        while class < CLASSES {
            let (whole, over) = match &kinds[class] {
                Kind::Slabs(this) => (this.slab_bytes() as u64, this.tail() as u64),
                Kind::Frames(count) => {
                    let bytes = count.get() << log2;
                    (bytes, bytes - size_of_class(class) as u64)
                }
            };
            assert!(over * 8 <= whole, "a slab leaves at most an eighth over");
            class += 1;
        }
        log2 += 2;
    }
};
