//! Segmentation followed by paging.
//!
//! ```text
//!  x86:      (segment, offset) ──table──► linear address ──one page table for the process──► physical
//!  Multics:  (segment, offset) ──table──► offset checked ──the segment's own page table────► physical
//! ```
//! Both sides' rules apply, the segment's first, and a fault tells which side refused.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Access, PhysAddr, Translate, Translation, VirtAddr};
use thiserror::Error;

use crate::table::Slot;
use crate::{Fault, SegmentNumber, Table};

/// A refused access: by the segment or by the paging below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentedFault<P: core::error::Error> {
    /// The segment's rules refused.
    #[error(transparent)]
    Segment(Fault),
    /// The segment permitted the access; the translation of its linear address refused.
    #[error("segment {segment}, offset {offset:#x}: {fault}")]
    Page {
        /// The segment that was named.
        segment: SegmentNumber,
        /// The byte of the segment at which the translation refused.
        offset: u64,
        /// Why.
        fault: P,
    },
}

/// A segment table in front of one translation: the x86 way.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{Access, Permissions, PhysAddr, VirtAddr};
/// use hectare_segmentation::{Segment, Segmented, SegmentedFault, Slot, Table};
/// # use hectare_testkit::stand_in::FlatTranslation;
///
/// // Below it any `Translate`, such as a page table. Here the first 64 KiB are mapped, for reading.
/// let user = Permissions::READ | Permissions::USER;
/// # let paging = FlatTranslation::new(VirtAddr::new(0), PhysAddr::new(0x8000_0000), 0x1_0000, user);
/// # let paging = paging.expect("no end wraps");
/// let mut segments = Table::<[Slot; 2]>::EMPTY;
/// let data = segments.insert(Segment::up(VirtAddr::new(0xF000), 0x2000, user | Permissions::WRITE)?)?;
/// let space = Segmented { segments, paging };
///
/// let word = NonZero::new(4).expect("not 0");
/// let found = space.translate(data, 0x10, word, Access::user_read())?;
/// assert_eq!(found.address, PhysAddr::new(0x8000_F010));
/// // Who refused: the segment's rights or its length, or what lies below.
/// let fault = space.translate(data, 0x2000, word, Access::user_read()).unwrap_err();
/// assert!(matches!(fault, SegmentedFault::Segment(_)));
/// let fault = space.translate(data, 0x10, word, Access::user_write()).unwrap_err();
/// assert!(matches!(fault, SegmentedFault::Page { offset: 0x10, .. }));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Segmented<S, P> {
    /// (segment, offset) to linear addresses.
    pub segments: Table<S>,
    /// Linear to physical addresses.
    pub paging: P,
}

impl<S: AsRef<[Slot]>, P: Translate> Segmented<S, P> {
    /// Translates the first byte of an access whose `bytes` bytes must all be within the segment.
    ///
    /// The result's length ends with the page or with the access, whichever comes first: an access over a page boundary
    /// goes on with [`Self::runs`]. Cost: the table's O(1) and one translation.
    ///
    /// # Errors
    /// The fault of the side that refused.
    pub fn translate(
        &self,
        number: SegmentNumber,
        offset: u64,
        bytes: NonZero<u64>,
        access: Access,
    ) -> Result<Translation, SegmentedFault<P::Fault>> {
        let linear =
            self.segments.translate(number, offset, bytes.get(), access).map_err(SegmentedFault::Segment)?;
        step(&self.paging, linear, bytes, access, (number, offset))
    }

    /// The physical runs of an access, in order, until its end or the first fault.
    ///
    /// # Errors
    /// Each item is a run or, as the last one, the fault. An access that the segment refuses is one fault.
    pub fn runs(
        &self,
        number: SegmentNumber,
        offset: u64,
        bytes: NonZero<u64>,
        access: Access,
    ) -> impl Iterator<Item = Result<Translation, SegmentedFault<P::Fault>>> + '_ {
        let mut rest = Some((offset, bytes));
        core::iter::from_fn(move || {
            let (at, left) = rest?;
            let run = self.translate(number, at, left, access);
            rest = run
                .ok()
                .and_then(|run| Some((at + run.length.get(), left.get().checked_sub(run.length.get())?)))
                .and_then(|(at, left)| Some((at, NonZero::new(left)?)));
            Some(run)
        })
    }
}

/// Segments that have a page table each: the Multics way.
///
/// A segment's descriptor gives rights and length; its start is not used, since the page table places each page.
#[derive(Clone, Debug)]
pub struct PagedSegments<S, V> {
    /// Rights and lengths by number.
    pub segments: Table<S>,
    /// The page tables by number, from offsets to physical addresses.
    pub page_tables: V,
}

impl<S: AsRef<[Slot]>, V> PagedSegments<S, V> {
    /// Translates the first byte of an access whose `bytes` bytes must all be within the segment.
    ///
    /// # Errors
    /// The fault of the side that refused; a segment without a page table is [`Cause::NoSegment`](crate::Cause).
    pub fn translate<P: Translate>(
        &self,
        number: SegmentNumber,
        offset: u64,
        bytes: NonZero<u64>,
        access: Access,
    ) -> Result<Translation, SegmentedFault<P::Fault>>
    where
        V: AsRef<[P]>,
    {
        self.segments.translate(number, offset, bytes.get(), access).map_err(SegmentedFault::Segment)?;
        let index = usize::try_from(number.value()).ok();
        let Some(paging) = index.and_then(|index| self.page_tables.as_ref().get(index)) else {
            let cause = crate::Cause::NoSegment;
            return Err(SegmentedFault::Segment(Fault {
                segment: number,
                offset,
                bytes: bytes.get(),
                access,
                cause,
            }));
        };
        step(paging, VirtAddr::new(offset), bytes, access, (number, offset))
    }
}

/// No paging: a linear address is the physical address, as long as memory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpaged {
    memory: NonZero<u64>,
}

impl Unpaged {
    /// A machine with memory at `[0, memory)`.
    #[must_use]
    pub const fn new(memory: NonZero<u64>) -> Self {
        Self { memory }
    }
}

/// A linear address beyond the memory of a machine without paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{access} at {address}: the machine has {memory:#x} bytes of memory")]
pub struct BeyondMemory {
    /// The address.
    pub address: VirtAddr,
    /// What was attempted.
    pub access: Access,
    /// How much memory there is.
    pub memory: NonZero<u64>,
}

impl Translate for Unpaged {
    type Fault = BeyondMemory;

    fn translate(&self, address: VirtAddr, access: Access) -> Result<Translation, BeyondMemory> {
        let rest = self.memory.get().checked_sub(address.value()).and_then(NonZero::new);
        match rest {
            Some(length) => Ok(Translation { address: PhysAddr::new(address.value()), length }),
            None => Err(BeyondMemory { address, access, memory: self.memory }),
        }
    }
}

/// One translation, its length cut at the access's end.
///
/// The matches and the comparison are spelled out on purpose: with `?`, `map_err` and `Ord::min` rustc 1.95 (LLVM 22)
/// returns a fault as `Ok` with a length of 0. The tests `composed::*` fail then.
fn step<P: Translate>(
    paging: &P,
    linear: VirtAddr,
    bytes: NonZero<u64>,
    access: Access,
    (segment, offset): (SegmentNumber, u64),
) -> Result<Translation, SegmentedFault<P::Fault>> {
    match paging.translate(linear, access) {
        Ok(run) if run.length <= bytes => Ok(run),
        Ok(run) => Ok(Translation { address: run.address, length: bytes }),
        Err(fault) => Err(SegmentedFault::Page { segment, offset, fault }),
    }
}
