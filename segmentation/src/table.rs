//! A segment table: a process's segments by number.
//!
//! ```text
//!   number    slot                                        registers
//!     0     ┌ generation 3 │ r-x [0x400000, 0x410000) ┐ ◄── loaded at generation 3: good
//!     1     ├ generation 7 │ rw- [0x600000, 0x605000) ┤ ◄── loaded at generation 6: stale
//!     2     ├ generation 1 │ empty                    ┤
//!           └ …                                       ┘
//! ```
//! Every change of a slot moves its generation on, so that a register loaded before refuses.
#![forbid(unsafe_code)]

use hectare_core::{Access, VirtAddr};
use thiserror::Error;

use crate::{Cause, Fault, Segment, SegmentNumber, SegmentRegister};

/// One place of a segment table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    segment: Option<Segment>,
    generation: u32,
}

impl Slot {
    /// A place without a segment.
    pub const EMPTY: Self = Self { segment: None, generation: 0 };
}

/// Why a segment was not entered. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// Every place of the table has a segment.
    #[error("the segment table is full")]
    Full,
    /// The table has no place of this number.
    #[error("the table has no place of this number")]
    NoSuchPlace,
    /// The place has a segment already.
    #[error("the place has a segment already")]
    Occupied,
    /// The place has no segment.
    #[error("the place has no segment")]
    Empty,
}

/// Segments by number, in storage that the user chooses: an array, a borrowed slice, a vector.
///
/// - A place's generation changes with every change of the place, and only then. It is 32 bits wide: a register that is
///   kept, unused, over exactly 2^32 changes of one place is taken for fresh.
/// - It does not prove that segments are disjoint: sharing is two places with the same memory.
///
/// ```
/// use hectare_core::{Access, Permissions, VirtAddr};
/// use hectare_segmentation::{Cause, Segment, Slot, Table};
///
/// let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
/// let heap = Segment::up(VirtAddr::new(0x60_0000), 0x5000, rights)?;
/// let mut table = Table::<[Slot; 4]>::EMPTY;
/// let number = table.insert(heap)?;
///
/// // A register is loaded once, and checks and translates without a look at the segment's descriptor.
/// let register = table.load(number, Access::user_write())?;
/// let address = table.translate_loaded(&register, 0x4FFC, 4, Access::user_write())?;
/// assert_eq!(address, VirtAddr::new(0x60_4FFC));
/// let fault = table.translate_loaded(&register, 0x4FFC, 8, Access::user_write()).unwrap_err();
/// assert_eq!(fault.cause, Cause::Limit { first: 0, length: 0x5000 });
///
/// // The segment moves: who goes on with the old register is told, instead of writing to the old place.
/// table.replace(number, Segment::up(VirtAddr::new(0x90_0000), 0x5000, rights)?)?;
/// let fault = table.translate_loaded(&register, 0, 4, Access::user_write()).unwrap_err();
/// assert_eq!(fault.cause, Cause::Stale);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table<S> {
    slots: S,
}

impl<const N: usize> Table<[Slot; N]> {
    /// A table of `N` places without a segment.
    pub const EMPTY: Self = Self { slots: [Slot::EMPTY; N] };
}

impl<const N: usize> Default for Table<[Slot; N]> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<S: AsRef<[Slot]>> Table<S> {
    /// The table in this storage, with the segments that the storage has.
    pub const fn new(slots: S) -> Self {
        Self { slots }
    }

    /// How many places there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.slots.as_ref().len()
    }

    /// The segment of this number. O(1).
    #[must_use]
    pub fn get(&self, number: SegmentNumber) -> Option<&Segment> {
        self.slot(number)?.segment.as_ref()
    }

    /// The segments with their numbers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (SegmentNumber, &Segment)> {
        (0..)
            .zip(self.slots.as_ref())
            .filter_map(|(at, slot)| Some((SegmentNumber::new(at), slot.segment.as_ref()?)))
    }

    /// The linear address of `bytes` bytes at `offset` in a segment, for this access. O(1).
    ///
    /// # Errors
    /// The [`Fault`], iff the segment's rules refuse the access.
    #[inline]
    pub fn translate(
        &self,
        number: SegmentNumber,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> Result<VirtAddr, Fault> {
        match self.get(number).and_then(|segment| segment.translate(offset, bytes, access)) {
            Some(address) => Ok(address),
            None => Err(self.fault(number, offset, bytes, access)),
        }
    }

    /// Loads a segment into a register, which then translates without the table. O(1).
    ///
    /// # Errors
    /// [`Cause::Privilege`], [`Cause::Protection`], [`Cause::NotPresent`] or [`Cause::NoSegment`], iff no access of
    /// this kind can succeed.
    pub fn load(&self, number: SegmentNumber, access: Access) -> Result<SegmentRegister, Fault> {
        let fault = |cause| Fault { segment: number, offset: 0, bytes: 0, access, cause };
        let slot = self.slot(number).ok_or(fault(Cause::NoSegment))?;
        let segment = slot.segment.ok_or(fault(Cause::NoSegment))?;
        match segment.refusal(segment.first(), 0, access) {
            None | Some(Cause::Limit { .. }) => Ok(SegmentRegister::new(number, slot.generation, segment)),
            Some(cause) => Err(fault(cause)),
        }
    }

    /// Whether the segment has not changed since the register was loaded from this table. O(1).
    #[inline]
    #[must_use]
    pub fn is_current(&self, register: &SegmentRegister) -> bool {
        self.slot(register.number()).is_some_and(|slot| slot.generation == register.generation())
    }

    /// Translates through a register, if it is current. O(1).
    ///
    /// # Errors
    /// [`Cause::Stale`] iff the segment changed since the load; else the fault of the segment's rules.
    #[inline]
    pub fn translate_loaded(
        &self,
        register: &SegmentRegister,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> Result<VirtAddr, Fault> {
        if !self.is_current(register) {
            return Err(Fault { segment: register.number(), offset, bytes, access, cause: Cause::Stale });
        }
        register.translate(offset, bytes, access)
    }

    /// The segments that have the byte at this linear address, with its offset in each: who would see a store to it.
    /// O(places).
    pub fn holders(&self, address: VirtAddr) -> impl Iterator<Item = (SegmentNumber, u64)> + '_ {
        self.iter().filter_map(move |(number, segment)| Some((number, segment.offset_of(address)?)))
    }

    fn slot(&self, number: SegmentNumber) -> Option<&Slot> {
        // A number that does not fit the host's index exceeds any table.
        self.slots.as_ref().get(usize::try_from(number.value()).ok()?)
    }

    #[cold]
    fn fault(&self, segment: SegmentNumber, offset: u64, bytes: u64, access: Access) -> Fault {
        let cause = match self.get(segment) {
            Some(found) => found.refusal(offset, bytes, access).unwrap_or(Cause::Overflow),
            None => Cause::NoSegment,
        };
        Fault { segment, offset, bytes, access, cause }
    }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Table<S> {
    /// Enters a segment at the lowest empty place. O(places).
    ///
    /// # Errors
    /// [`TableError::Full`] iff there is none.
    pub fn insert(&mut self, segment: Segment) -> Result<SegmentNumber, TableError> {
        let slots = (0..).zip(self.slots.as_mut());
        let (at, slot) =
            slots.into_iter().find(|(_, slot)| slot.segment.is_none()).ok_or(TableError::Full)?;
        slot.change(Some(segment));
        Ok(SegmentNumber::new(at))
    }

    /// Enters a segment at an empty place. O(1).
    ///
    /// # Errors
    /// [`TableError::NoSuchPlace`], or [`TableError::Occupied`] iff a segment is there.
    pub fn insert_at(&mut self, number: SegmentNumber, segment: Segment) -> Result<(), TableError> {
        let slot = self.slot_mut(number).ok_or(TableError::NoSuchPlace)?;
        if slot.segment.is_some() {
            return Err(TableError::Occupied);
        }
        slot.change(Some(segment));
        Ok(())
    }

    /// Exchanges a segment's descriptor and returns the old one: moved, grown, swapped, other rights. Registers loaded
    /// from it are stale. O(1).
    ///
    /// # Errors
    /// [`TableError::NoSuchPlace`], or [`TableError::Empty`] iff no segment is there.
    pub fn replace(&mut self, number: SegmentNumber, segment: Segment) -> Result<Segment, TableError> {
        let slot = self.slot_mut(number).ok_or(TableError::NoSuchPlace)?;
        let old = slot.segment.ok_or(TableError::Empty)?;
        slot.change(Some(segment));
        Ok(old)
    }

    /// Takes a segment out. Registers loaded from it are stale. O(1).
    ///
    /// # Errors
    /// [`TableError::NoSuchPlace`], or [`TableError::Empty`] iff no segment is there.
    pub fn remove(&mut self, number: SegmentNumber) -> Result<Segment, TableError> {
        let slot = self.slot_mut(number).ok_or(TableError::NoSuchPlace)?;
        let old = slot.segment.ok_or(TableError::Empty)?;
        slot.change(None);
        Ok(old)
    }

    fn slot_mut(&mut self, number: SegmentNumber) -> Option<&mut Slot> {
        self.slots.as_mut().get_mut(usize::try_from(number.value()).ok()?)
    }
}

impl Slot {
    fn change(&mut self, segment: Option<Segment>) {
        self.segment = segment;
        if cfg!(not(hectare_plant = "segment_generation")) {
            self.generation = self.generation.wrapping_add(1);
        }
    }
}
