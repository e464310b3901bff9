//! One area of an address space: pages that are alike in everything but their contents.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Page, PageRun, Permissions};

bitflags::bitflags! {
    /// What an area is, besides its permissions.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AreaFlags: u16 {
        /// Writes are seen by all who map the object, and a fork copies nothing.
        const SHARED = 1;
        /// The frames are a device's: mapped as they are, never counted, copied or freed.
        const DEVICE = 1 << 1;
        /// Grows down on a fault just below it: a stack.
        const GROWS_DOWN = 1 << 2;
        /// The area that `brk` moves the end of.
        const HEAP = 1 << 3;
        /// Huge pages are welcome.
        const HUGE = 1 << 4;
        /// Huge pages are not wanted.
        const NO_HUGE = 1 << 5;
        /// Something was mapped here since the area was made: what never was needs no look at the tables.
        const TOUCHED = 1 << 6;
        /// A page was swapped out since then: there may be slots in the tables.
        const SWAPPED = 1 << 7;
        /// A page of its own, no longer the object's, may be here: a fork must copy it.
        const OWN = 1 << 8;
    }
}

impl AreaFlags {
    /// What happened to the area says nothing of what it is.
    pub(super) const HISTORY: Self = Self::TOUCHED.union(Self::SWAPPED).union(Self::OWN);
}

/// The number of an object that is mapped: a file, shared memory. Its meaning is the pager's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ObjectId(pub NonZero<u64>);

impl ObjectId {
    /// The object of this number; `None` for 0, which stands for no object.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// What lies behind an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Nothing: pages begin as zeros.
    Anonymous,
    /// An object, from this page of it on.
    Object {
        /// Which.
        id: ObjectId,
        /// The object's page behind the area's first.
        offset: u64,
    },
    /// Frames of a device, from this number on.
    Device {
        /// The frame behind the area's first page.
        frame: u64,
    },
}

/// Pages `[first, end)` that are alike: what a line of `/proc/PID/maps` shows.
///
/// # Invariants
/// * `first < end`
/// * the object's offset, or the device's frame number, of every page fits 64 bits
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub(super) first: u64,
    pub(super) tail: Tail,
}

/// An area but for its first page: what the index keeps beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) end: u64,
    /// Page of the object, or frame of the device.
    pub(super) offset: u64,
    pub(super) object: Option<ObjectId>,
    pub(super) permissions: Permissions,
    pub(super) flags: AreaFlags,
}

impl Area {
    /// An area of anonymous private memory. See the `with_` methods for the rest.
    #[must_use]
    pub const fn new(pages: PageRun, permissions: Permissions) -> Self {
        let tail = Tail {
            end: pages.end().number(),
            offset: 0,
            object: None,
            permissions,
            flags: AreaFlags::empty(),
        };
        Self { first: pages.first().number(), tail }
    }

    /// The same over this backing; `None` if the offsets of its pages do not fit 64 bits.
    #[must_use]
    pub fn with_backing(mut self, backing: Backing) -> Option<Self> {
        let tail = &mut self.tail;
        tail.flags.remove(AreaFlags::DEVICE);
        (tail.object, tail.offset) = match backing {
            Backing::Anonymous => (None, 0),
            Backing::Object { id, offset } => (Some(id), offset),
            Backing::Device { frame } => {
                tail.flags.insert(AreaFlags::DEVICE);
                (None, frame)
            }
        };
        tail.offset.checked_add(tail.end - self.first)?;
        Some(self)
    }

    /// The same with these flags besides. `DEVICE` belongs to the backing and is ignored.
    #[must_use]
    pub fn with_flags(mut self, flags: AreaFlags) -> Self {
        self.tail.flags |= flags - AreaFlags::DEVICE;
        self
    }

    /// The first page.
    #[must_use]
    pub const fn first(&self) -> Page {
        Page::new(self.first)
    }

    /// The first page after it.
    #[must_use]
    pub const fn end(&self) -> Page {
        Page::new(self.tail.end)
    }

    /// How many pages, at least 1.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.tail.end - self.first
    }

    /// Whether the page lies in it.
    #[must_use]
    pub const fn contains(&self, page: Page) -> bool {
        self.first <= page.number() && page.number() < self.tail.end
    }

    /// What may be done there.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        self.tail.permissions
    }

    /// What it is besides.
    #[must_use]
    pub const fn flags(&self) -> AreaFlags {
        self.tail.flags
    }

    /// Whether writes are seen by others.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.tail.flags.contains(AreaFlags::SHARED)
    }

    /// What lies behind it.
    #[must_use]
    pub fn backing(&self) -> Backing {
        match self.tail.object {
            Some(id) => Backing::Object { id, offset: self.tail.offset },
            None if self.tail.flags.contains(AreaFlags::DEVICE) => {
                Backing::Device { frame: self.tail.offset }
            }
            None => Backing::Anonymous,
        }
    }

    /// The offset of a page of the area in what lies behind it; 0 in anonymous memory.
    #[must_use]
    pub(super) const fn offset_of(&self, page: u64) -> u64 {
        if self.has_offsets() { self.tail.offset + (page - self.first) } else { 0 }
    }

    const fn has_offsets(&self) -> bool {
        self.tail.object.is_some() || self.tail.flags.contains(AreaFlags::DEVICE)
    }

    /// The same with other rights.
    #[must_use]
    pub(super) const fn with_permissions(mut self, permissions: Permissions) -> Self {
        self.tail.permissions = permissions;
        self
    }

    /// The same without these flags.
    #[must_use]
    pub(super) fn without(mut self, flags: AreaFlags) -> Self {
        self.tail.flags -= flags;
        self
    }

    /// The same with what happened to another besides.
    #[must_use]
    pub(super) fn with_history(mut self, flags: AreaFlags) -> Self {
        self.tail.flags |= flags & AreaFlags::HISTORY;
        self
    }

    /// The same with another end, above its first page.
    #[must_use]
    pub(super) const fn until(mut self, end: Page) -> Self {
        self.tail.end = end.number();
        self
    }

    /// The same, begun lower; `None` if there is nothing of the object or device below.
    #[must_use]
    pub(super) fn down_to(mut self, first: Page) -> Option<Self> {
        let more = self.first.checked_sub(first.number())?;
        if self.has_offsets() {
            self.tail.offset = self.tail.offset.checked_sub(more)?;
        }
        self.first = first.number();
        Some(self)
    }

    /// The same somewhere else.
    #[must_use]
    pub(super) const fn moved_to(mut self, first: Page) -> Self {
        self.tail.end = self.tail.end.wrapping_sub(self.first).wrapping_add(first.number());
        self.first = first.number();
        self
    }

    /// The part of it in `[first, end)`; `None` if there is none.
    #[must_use]
    pub(super) fn part(&self, first: u64, end: u64) -> Option<Self> {
        let (first, end) = (first.max(self.first), end.min(self.tail.end));
        if first >= end {
            return None;
        }
        Some(Self { first, tail: Tail { end, offset: self.offset_of(first), ..self.tail } })
    }

    /// Whether `next`, which begins where this ends, is of one piece with it: Linux merges such areas too.
    #[must_use]
    pub(super) fn joins(&self, next: &Self) -> bool {
        let is = |area: &Self| area.tail.flags - AreaFlags::HISTORY;
        self.tail.end == next.first
            && self.tail.permissions == next.tail.permissions
            && self.tail.object == next.tail.object
            && is(self) == is(next)
            && (!self.has_offsets() || self.offset_of(next.first) == next.tail.offset)
    }
}
