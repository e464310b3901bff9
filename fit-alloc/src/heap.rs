//! The byte heap: blocks without headers, in regions of real memory.
//!
//! ```text
//!  FitHeap       quick       recently freed small blocks, by size, kept whole
//!  StrictHeap    good_fit    bytes, layouts, several regions, typed errors
//!                engine      granules of one region: lists, splitting   + give: joining   + search: alignment, last resorts
//!                bins        sizes to lists
//!                region      the boundary map and the words inside holes: the only code that touches the memory
//! ```

mod bins;
mod check;
mod compact;
mod eights;
mod engine;
mod figures;
mod give;
mod good_fit;
mod prefetch;
mod quick;
mod region;
mod regions;
mod search;
mod shape;
#[cfg(test)]
mod tests;
mod walk;

pub use good_fit::GoodFit;
pub use quick::QuickLists;
pub use shape::{Bounded, Complete, Hardened, Mode, Shape, Small, Standard, Word};
pub use walk::Run;

/// The default heap: good fit behind quick lists, complete.
pub type FitHeap<const REGIONS: usize = 1> = QuickLists<Standard, REGIONS>;

/// Good fit without quick lists: tighter, with a step bound for everything but the last attempt before a refusal.
pub type StrictHeap<const REGIONS: usize = 1> = GoodFit<Standard, REGIONS, Complete>;

/// Good fit with a step bound for everything. May refuse what a fragmented heap could still hold.
pub type BoundedHeap<const REGIONS: usize = 1> = GoodFit<Standard, REGIONS, Bounded>;

/// Good fit that detects every bad free.
pub type HardenedHeap<const REGIONS: usize = 1> = GoodFit<Standard, REGIONS, Hardened>;

/// Up to 512 KiB a region with little state and little code, for microcontrollers.
pub type SmallHeap<const REGIONS: usize = 1> = GoodFit<Small, REGIONS, Bounded>;

/// The default heap behind a lock: a `#[global_allocator]`.
///
/// ```
/// # #[cfg(not(miri))] {
/// use core::mem::MaybeUninit;
///
/// static HEAP: hectare_fit::Heap = hectare_fit::Heap::empty();
/// static mut MEMORY: [MaybeUninit<u8>; 0x1_0000] = [MaybeUninit::uninit(); 0x1_0000];
///
/// // SAFETY: nothing else uses the buffer.
/// HEAP.init_static(unsafe { &mut *(&raw mut MEMORY) })?;
/// assert!(HEAP.free() > 0xf000);
/// # }
/// # Ok::<(), hectare_core::RegionError>(())
/// ```
#[cfg(target_has_atomic = "8")]
pub type Heap<L = hectare_core::SpinLock> = hectare_core::Heap<L, FitHeap>;

/// The default heap behind a lock: a `#[global_allocator]`. This target has no compare-and-swap, so the lock must be
/// named.
#[cfg(not(target_has_atomic = "8"))]
pub type Heap<L> = hectare_core::Heap<L, FitHeap>;
