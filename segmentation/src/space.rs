//! The segments of several processes in one memory: placed by any range source, grown, shared, swapped and compacted.
//!
//! ```text
//!  process 0    table ─┬─ 0 ──┐            objects: one for each segment's memory, with its users and pins
//!                      └─ 1 ──┼──► object 0  [0x1000, 0x3000)  2 users
//!  process 1    table ─── 0 ──┘
//!                       └ 1 ─────► object 1  [0x3000, 0x3800)  1 user, pinned
//!                       └ 2 ─────► object 2  swapped out to slot 9
//! ```
//! An object that moves, grows or leaves changes the descriptor of each of its users in the same call, so nobody sees
//! half of a change, and registers loaded before are stale. Bytes are moved by the user's [`Memory`]: this module
//! touches none.
#![forbid(unsafe_code)]

mod check;
mod compact;
mod objects;
mod swap;

use core::num::NonZero;

use hectare_core::{Access, AllocError, Extent, FreeError, Permissions, RangeRequest, RangeSource, VirtAddr};
use thiserror::Error;

pub use self::compact::{Compaction, Goal};
use self::objects::{Object, ObjectId};
pub use self::swap::SwapError;
use crate::table::TableError;
use crate::{Absence, Fault, Growth, Segment, SegmentError, SegmentNumber, Slot, Table};

/// Who moves and clears bytes: a `memmove`, a DMA engine, a recorder in a test.
pub trait Memory {
    /// Copies `bytes` bytes from `from` to `to`. The two may overlap: the result is as if all were read first.
    fn copy(&mut self, from: u64, to: u64, bytes: u64);

    /// Makes every byte zero, so that a process never reads what another left behind.
    fn zero(&mut self, place: Extent);
}

/// A process of a [`Spaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(usize);

/// What a new segment shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSegment {
    /// How many bytes.
    pub length: NonZero<u64>,
    /// The place of its lowest byte is a multiple of this.
    pub align: NonZero<u64>,
    /// What the process may do.
    pub permissions: Permissions,
    /// The last offset of a segment that grows down; `None` for one that grows up from 0.
    pub last: Option<u64>,
}

impl NewSegment {
    /// A segment that grows up, placed anywhere.
    #[must_use]
    pub const fn up(length: NonZero<u64>, permissions: Permissions) -> Self {
        Self { length, align: NonZero::<u64>::MIN, permissions, last: None }
    }

    /// A stack: its offsets end at `last`.
    #[must_use]
    pub const fn down(length: NonZero<u64>, last: u64, permissions: Permissions) -> Self {
        Self { last: Some(last), ..Self::up(length, permissions) }
    }
}

/// Why an operation on a [`Spaces`] was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// There are as many processes as there can be.
    #[error("there are as many processes as there can be")]
    TooManyProcesses,
    /// There are as many segments, shared ones counted once, as there can be.
    #[error("there are as many segments as there can be")]
    TooManySegments,
    /// There is no such process.
    #[error("there is no such process")]
    NoProcess,
    /// The process's table refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No place was found.
    #[error(transparent)]
    Place(#[from] AllocError),
    /// The segment cannot be described.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The segment is not in memory.
    #[error("the segment is not present: {0}")]
    NotPresent(Absence),
    /// The segment is in memory already.
    #[error("the segment is present")]
    Present,
    /// The segment is pinned: a device or a static address depends on its place.
    #[error("the segment is pinned")]
    Pinned,
    /// The segment is not pinned.
    #[error("the segment is not pinned")]
    NotPinned,
    /// The range source took a place back and then refused the same place: it breaks its contract.
    #[error("the range source broke its contract: {0}")]
    Source(#[from] FreeError),
}

/// Up to `PROCESSES` processes with up to `SEGMENTS` segments each, `OBJECTS` different ones in all.
///
/// - The places of present objects are disjoint and come from the source.
/// - Each user's descriptor of an object has the object's place, length and presence; only the rights are its own.
/// - A pinned object is present and is not moved.
/// - At most one object is being moved; it is absent for all its users meanwhile.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{Access, Extent, Permissions, VirtAddr};
/// use hectare_segmentation::{Goal, Memory, NewSegment, SpaceError, Spaces};
/// # let source = hectare_testkit::stand_in::NaiveRanges::new(Extent::new(0, 0x3000).expect("not empty"));
///
/// struct Bytes(Vec<u8>);
/// impl Memory for Bytes {
///     fn copy(&mut self, from: u64, to: u64, bytes: u64) {
///         self.0.copy_within(from as usize..(from + bytes) as usize, to as usize);
///     }
///     fn zero(&mut self, place: Extent) {
///         self.0[place.start() as usize..place.end() as usize].fill(0);
///     }
/// }
///
/// // 12 KiB, placed by `source`, here first fit. Two processes take all of it, and the first ends.
/// let mut memory = Bytes(vec![0; 0x3000]);
/// let mut spaces = Spaces::<_, 2, 4, 8>::new(source);
/// let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
/// let page = NewSegment::up(NonZero::new(0x1000).expect("not 0"), rights);
/// let (one, two) = (spaces.spawn()?, spaces.spawn()?);
/// spaces.create(one, page, &mut memory)?;
/// let data = spaces.create(two, page, &mut memory)?;
/// spaces.create(one, page, &mut memory)?;
/// memory.0[0x1234] = 7;
/// spaces.exit(one)?;
///
/// // Free is 0x2000, but not in one piece. The program's segment moves, and its offsets stay what they were.
/// let large = NewSegment { length: NonZero::new(0x2000).expect("not 0"), ..page };
/// assert!(matches!(spaces.create(two, large, &mut memory), Err(SpaceError::Place(_))));
/// assert!(spaces.compact(0, Goal::OneHole, u64::MAX, &mut memory)?.finished);
/// let address = spaces.translate(two, data, 0x234, 1, Access::user_read()).expect("a process")?;
/// assert_eq!((address, memory.0[0x234]), (VirtAddr::new(0x234), 7));
/// spaces.create(two, large, &mut memory)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spaces<R, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize> {
    source: R,
    processes: [Option<Process<SEGMENTS>>; PROCESSES],
    objects: [Option<Object>; OBJECTS],
    moving: Option<compact::Move>,
}

#[derive(Clone, Debug)]
struct Process<const SEGMENTS: usize> {
    table: Table<[Slot; SEGMENTS]>,
    /// The object behind each segment of the table.
    objects: [Option<ObjectId>; SEGMENTS],
}

impl<R: RangeSource, const PROCESSES: usize, const SEGMENTS: usize, const OBJECTS: usize>
    Spaces<R, PROCESSES, SEGMENTS, OBJECTS>
{
    /// No process, in the memory that the source hands out. The source must be used by nobody else.
    #[must_use]
    pub const fn new(source: R) -> Self {
        Self {
            source,
            processes: [const { None }; PROCESSES],
            objects: [const { None }; OBJECTS],
            moving: None,
        }
    }

    /// The range source, to look at.
    pub const fn source(&self) -> &R {
        &self.source
    }

    /// A new process without a segment. O(processes).
    ///
    /// # Errors
    /// [`SpaceError::TooManyProcesses`].
    pub fn spawn(&mut self) -> Result<ProcessId, SpaceError> {
        let mut places = self.processes.iter_mut().enumerate();
        let (at, place) = places.find(|(_, place)| place.is_none()).ok_or(SpaceError::TooManyProcesses)?;
        *place = Some(Process { table: Table::EMPTY, objects: [None; SEGMENTS] });
        Ok(ProcessId(at))
    }

    /// Ends a process: its segments that nobody else uses are given back, pinned ones too, so what a device does there
    /// must be over. O(segments), and as many frees.
    ///
    /// # Errors
    /// [`SpaceError::NoProcess`]; [`SpaceError::Source`] iff the source breaks its contract.
    pub fn exit(&mut self, process: ProcessId) -> Result<(), SpaceError> {
        let ended = self.processes.get_mut(process.0).and_then(Option::take).ok_or(SpaceError::NoProcess)?;
        for object in ended.objects.into_iter().flatten() {
            self.release(object)?;
        }
        Ok(())
    }

    /// The process's segment table, to translate by.
    #[must_use]
    pub fn table(&self, process: ProcessId) -> Option<&Table<[Slot; SEGMENTS]>> {
        Some(&self.processes.get(process.0)?.as_ref()?.table)
    }

    /// The linear address of an access, as the process's table has it. O(1).
    ///
    /// # Errors
    /// The fault; `None` if there is no such process.
    pub fn translate(
        &self,
        process: ProcessId,
        number: SegmentNumber,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> Option<Result<VirtAddr, Fault>> {
        Some(self.table(process)?.translate(number, offset, bytes, access))
    }

    /// A new segment of zeroes. O(segments + objects), one allocation, and the clearing.
    ///
    /// # Errors
    /// [`SpaceError`]: no such process, a full table, no place, or offsets that a segment which grows down lacks.
    pub fn create(
        &mut self,
        process: ProcessId,
        new: NewSegment,
        memory: &mut impl Memory,
    ) -> Result<SegmentNumber, SpaceError> {
        let free = self.room(process)?;
        // Described at address 0 first: what no place can make legal must not cost a place.
        let shape = described(&new, 0)?;
        let id = self.free_object()?;
        let place = self.source.allocate_range(RangeRequest { length: new.length, align: new.align })?;
        memory.zero(place);
        let segment = shape.placed(VirtAddr::new(place.start()))?;
        self.put_object(id, Object::new(segment, Some(place), new.align));
        self.enter(process, free, id, segment)?;
        Ok(free)
    }

    /// A new segment without memory: its first touch faults with [`Absence::Unallocated`], and
    /// [`Self::allocate`] then gives it zeroes. O(segments + objects).
    ///
    /// # Errors
    /// [`SpaceError`], as [`Self::create`], but for the place.
    pub fn create_unallocated(
        &mut self,
        process: ProcessId,
        new: NewSegment,
    ) -> Result<SegmentNumber, SpaceError> {
        let free = self.room(process)?;
        let segment = described(&new, 0)?.absent(Absence::Unallocated);
        let id = self.free_object()?;
        self.put_object(id, Object::new(segment, None, new.align));
        self.enter(process, free, id, segment)?;
        Ok(free)
    }

    /// Gives a segment that never had memory its zeroes. One allocation, O(processes × segments), and the clearing.
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment, no place, or [`SpaceError::Present`] unless it was never allocated.
    pub fn allocate(
        &mut self,
        process: ProcessId,
        number: SegmentNumber,
        memory: &mut impl Memory,
    ) -> Result<(), SpaceError> {
        let id = self.object_of(process, number)?;
        match self.object(id)?.segment.absence() {
            Some(Absence::Unallocated) => {}
            Some(why) => return Err(SpaceError::NotPresent(why)),
            None => return Err(SpaceError::Present),
        }
        let place = self.bring(id)?;
        memory.zero(place);
        Ok(())
    }

    /// The same memory in another process (or once more in the same), with rights of its own. O(segments).
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment or process, or a full table.
    pub fn share(
        &mut self,
        (from, number): (ProcessId, SegmentNumber),
        to: ProcessId,
        permissions: Permissions,
    ) -> Result<SegmentNumber, SpaceError> {
        let id = self.object_of(from, number)?;
        let free = self.room(to)?;
        let segment = self.object(id)?.segment.with_permissions(permissions);
        self.enter(to, free, id, segment)?;
        self.object_mut(id)?.users += 1;
        Ok(free)
    }

    /// Takes a segment from a process; its memory is given back with its last user. O(1) and one free.
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment or process; [`SpaceError::Pinned`] iff it is pinned and has no other user.
    pub fn remove(&mut self, process: ProcessId, number: SegmentNumber) -> Result<(), SpaceError> {
        let id = self.object_of(process, number)?;
        let object = self.object(id)?;
        if object.users == 1 && object.pins > 0 {
            return Err(SpaceError::Pinned);
        }
        let place =
            self.processes.get_mut(process.0).and_then(Option::as_mut).ok_or(SpaceError::NoProcess)?;
        place.table.remove(number)?;
        if let Some(link) = usize::try_from(number.value()).ok().and_then(|at| place.objects.get_mut(at)) {
            *link = None;
        }
        self.release(id)
    }

    /// Changes a segment's length for all its users: in place if that is possible, else by moving it; new bytes are
    /// zeroes. One to three calls of the source, O(processes × segments), and the bytes that are moved or cleared.
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment, not present, no place, or offsets that a segment which grows down lacks.
    /// [`SpaceError::Pinned`] iff it is pinned and must move.
    pub fn resize(
        &mut self,
        process: ProcessId,
        number: SegmentNumber,
        length: NonZero<u64>,
        memory: &mut impl Memory,
    ) -> Result<(), SpaceError> {
        let id = self.object_of(process, number)?;
        let object = *self.object(id)?;
        let (old, Some(place)) = (object.segment, object.place) else {
            return Err(SpaceError::NotPresent(object.segment.absence().unwrap_or(Absence::Unallocated)));
        };
        if let Some(why) = old.absence() {
            return Err(SpaceError::NotPresent(why));
        }
        let last = matches!(old.growth(), Growth::Down).then(|| old.first() + (old.length() - 1));
        let new =
            described(&NewSegment { length, align: object.align, permissions: old.permissions(), last }, 0)?;
        // A moved lowest byte can lose its alignment, so a segment that grows down always goes to a new place.
        let fits = length.get() <= place.length() && last.is_none();
        let new_place = if fits {
            place
        } else {
            if object.pins > 0 {
                return Err(SpaceError::Pinned);
            }
            self.source.allocate_range(RangeRequest { length, align: object.align })?
        };
        let kept = old.length().min(length.get());
        // Growing up keeps the lowest bytes, growing down the highest.
        let (old_skip, new_skip) =
            if last.is_some() { (old.length() - kept, length.get() - kept) } else { (0, 0) };
        if new_place != place {
            memory.copy(old.start().value() + old_skip, new_place.start() + new_skip, kept);
        }
        let fresh = if last.is_some() { new_place.start() } else { new_place.start() + kept };
        if let Some(fresh) = Extent::new(fresh, length.get() - kept) {
            memory.zero(fresh);
        }
        let segment = new.placed(VirtAddr::new(new_place.start()))?;
        let object = self.object_mut(id)?;
        (object.segment, object.place) = (segment, Some(new_place));
        self.publish(id)?;
        if new_place != place {
            self.source.free_range(place)?;
        }
        Ok(())
    }

    /// Forbids to move, to swap and to [remove](Self::remove) a segment, until as many [`Self::unpin`]; its process may
    /// [end](Self::exit) all the same. O(1).
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment, or not present.
    pub fn pin(&mut self, process: ProcessId, number: SegmentNumber) -> Result<(), SpaceError> {
        let id = self.object_of(process, number)?;
        let object = self.object_mut(id)?;
        match object.segment.absence() {
            Some(why) => Err(SpaceError::NotPresent(why)),
            None => {
                object.pins = object.pins.saturating_add(1);
                Ok(())
            }
        }
    }

    /// Takes back one [`Self::pin`]. O(1).
    ///
    /// # Errors
    /// [`SpaceError`]: no such segment; [`SpaceError::NotPinned`].
    pub fn unpin(&mut self, process: ProcessId, number: SegmentNumber) -> Result<(), SpaceError> {
        let id = self.object_of(process, number)?;
        let object = self.object_mut(id)?;
        object.pins = object.pins.checked_sub(1).ok_or(SpaceError::NotPinned)?;
        Ok(())
    }
}

/// The segment's descriptor with its lowest byte at `start`.
fn described(new: &NewSegment, start: u64) -> Result<Segment, SegmentError> {
    let start = VirtAddr::new(start);
    match new.last {
        None => Segment::up(start, new.length.get(), new.permissions),
        Some(last) => Segment::down(start, new.length.get(), last, new.permissions),
    }
}
