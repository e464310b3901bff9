//! The model of a cache of equal objects.
#![expect(
    unsafe_code,
    reason = "uses the objects that the cache under test hands out, and frees what is none"
)]

use core::ops::Range;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use hectare_core::{AllocError, FreeError, Violation};

use super::contents::Limit;
use super::{Breach, Counts, Model, Space};
use crate::op::ObjectOp;

/// A cache of equal objects, so that it can be tried.
///
/// # Safety
/// An object that is handed out is valid for reads and writes of [`size`](Self::size) bytes, and nobody else's until it is
/// given back; a free that is refused changes nothing.
pub unsafe trait CacheUnderTest {
    /// Bytes of an object.
    fn size(&self) -> usize;

    /// The alignment of an object.
    fn align(&self) -> usize;

    /// Takes an object.
    ///
    /// # Errors
    /// Why there is none.
    fn allocate(&mut self) -> Result<NonNull<u8>, AllocError>;

    /// Fills `out` from its start; how many.
    fn allocate_many(&mut self, out: &mut [Option<NonNull<u8>>]) -> usize;

    /// Gives an address back, which need not be an object's.
    ///
    /// # Safety
    /// If it is a live object's, nothing uses that any more.
    ///
    /// # Errors
    /// It is no live object's.
    unsafe fn free(&mut self, object: NonNull<u8>) -> Result<(), FreeError>;

    /// Reserves objects.
    ///
    /// # Errors
    /// Why not; the reserve is then as it was.
    fn reserve(&mut self, count: usize) -> Result<(), AllocError>;

    /// Takes a reserved object; `None` iff the reserve is 0.
    fn allocate_reserved(&mut self) -> Option<NonNull<u8>>;

    /// Gives empty slabs back.
    fn shrink(&mut self);

    /// Checks its invariants, with so many objects handed out and reserved.
    ///
    /// # Errors
    /// The one that is broken.
    fn check(&self, live: usize, reserved: usize) -> Result<(), Violation>;

    /// Whether a refusal is right, with so many objects handed out and reserved.
    ///
    /// # Errors
    /// Why it is not.
    fn check_refusal(&self, live: usize, reserved: usize, error: AllocError) -> Result<(), String>;

    /// Checks that all memory went back, after everything was freed and shrunk.
    ///
    /// # Errors
    /// What did not.
    fn check_empty(&self) -> Result<(), String>;
}

/// A cache and its shadow.
///
/// # Invariants
/// * each entry of `objects` is a live object of `cache`, filled with the pattern of its identity; `space` has the same
#[derive(Debug)]
pub struct ObjectModel<C> {
    cache: C,
    objects: BTreeMap<u32, (NonNull<u8>, u64)>,
    space: Space,
    reserved: usize,
    /// The object freed last.
    last: Option<NonNull<u8>>,
    next_id: u64,
    counts: Counts,
}

/// Each object is written and looked at in its first and last so many bytes.
const LOOKED_AT: Limit = Limit(32);

impl<C: CacheUnderTest> ObjectModel<C> {
    /// A model of a cache whose objects lie in `memory`, by address.
    #[must_use]
    pub fn new(cache: C, memory: Range<u64>) -> Self {
        Self {
            cache,
            objects: BTreeMap::new(),
            space: Space::new(vec![memory]),
            reserved: 0,
            last: None,
            next_id: 0,
            counts: Counts::default(),
        }
    }

    /// Notes an object that was handed out, and fills it.
    fn admit(&mut self, slot: u32, object: NonNull<u8>) -> Result<(), Breach> {
        let (size, align) = (self.cache.size(), self.cache.align());
        self.space.insert(object.addr().get() as u64, size as u64, align as u64)?;
        self.next_id += 1;
        self.counts.allocated += 1;
        // SAFETY: valid for its size (trait); in the memory and apart from the others, as was just checked.
        unsafe { LOOKED_AT.write(object, size, self.next_id) };
        self.objects.insert(slot, (object, self.next_id));
        self.last = self.last.filter(|last| *last != object);
        Ok(())
    }

    fn refused(&mut self, error: AllocError) -> Result<(), Breach> {
        self.counts.refused += 1;
        let right = self.cache.check_refusal(self.objects.len(), self.reserved, error);
        let (size, align) = (self.cache.size() as u64, self.cache.align() as u64);
        right.map_err(|reason| Breach::Refused { size, align, error, reason })
    }

    fn check_object(&self, slot: u32, object: NonNull<u8>, id: u64) -> Result<(), Breach> {
        let size = self.cache.size();
        // SAFETY: a live object, filled when it was admitted.
        match unsafe { LOOKED_AT.lost(object, size, size, id) } {
            None => Ok(()),
            Some(at) => Err(Breach::Lost { slot, at: at as u64 }),
        }
    }

    fn free(&mut self, slot: u32) -> Result<(), Breach> {
        let Some((object, id)) = self.objects.remove(&slot) else { return Ok(()) };
        self.check_object(slot, object, id)?;
        self.space.remove(object.addr().get() as u64);
        self.counts.freed += 1;
        self.last = Some(object);
        // SAFETY: a live object, just forgotten.
        unsafe { self.cache.free(object) }.map_err(|error| Breach::FreeRefused { slot, error })
    }

    fn bad_free(&mut self, slot: u32, offset: u32) -> Result<(), Breach> {
        let bad = match self.objects.get(&slot) {
            // An offset inside the object cannot be another one's.
            Some((object, _)) => {
                object.map_addr(|at| at.saturating_add(1 + offset as usize % self.cache.size().max(2)))
            }
            None => match self.last {
                Some(last) => last,
                None => return Ok(()),
            },
        };
        let start = bad.addr().get() as u64;
        if self.objects.values().any(|(object, _)| *object == bad) {
            return Ok(());
        }
        // SAFETY: no live object's.
        match unsafe { self.cache.free(bad) } {
            Ok(()) => Err(Breach::BadFreeTaken { start, end: start + self.cache.size() as u64 }),
            Err(_) => Ok(()),
        }
    }

    fn allocate_many(&mut self, first: u32, count: u32) -> Result<(), Breach> {
        for slot in first..first + count {
            self.free(slot)?;
        }
        let mut out = vec![None; count as usize];
        let given = self.cache.allocate_many(&mut out);
        for (slot, object) in (first..).zip(out.into_iter().flatten()) {
            self.admit(slot, object)?;
        }
        if given < count as usize { self.refused(AllocError::OutOfMemory) } else { Ok(()) }
    }
}

impl<C: CacheUnderTest> Model for ObjectModel<C> {
    type Op = ObjectOp;

    fn step(&mut self, op: ObjectOp) -> Result<(), Breach> {
        match op {
            ObjectOp::Allocate { slot } => {
                self.free(slot)?;
                match self.cache.allocate() {
                    Ok(object) => self.admit(slot, object),
                    Err(error) => self.refused(error),
                }
            }
            ObjectOp::Free { slot } => self.free(slot),
            ObjectOp::AllocateMany { first, count } => self.allocate_many(first, count),
            ObjectOp::BadFree { slot, offset } => self.bad_free(slot, offset),
            ObjectOp::Reserve { count } => {
                let count = count as usize;
                match self.cache.reserve(count) {
                    Ok(()) => self.reserved = count,
                    Err(_) => self.counts.refused += 1,
                }
                Ok(())
            }
            ObjectOp::AllocateReserved { slot } => {
                self.free(slot)?;
                match (self.cache.allocate_reserved(), self.reserved) {
                    (None, 0) => Ok(()),
                    (Some(object), 1..) => {
                        self.reserved -= 1;
                        self.admit(slot, object)
                    }
                    (given, reserved) => {
                        Err(Breach::NotEmpty(format!("of {reserved} reserved came {given:?}")))
                    }
                }
            }
            ObjectOp::Shrink => {
                self.cache.shrink();
                Ok(())
            }
        }
    }

    fn check(&mut self) -> Result<(), Breach> {
        self.cache.check(self.objects.len(), self.reserved)?;
        self.objects.iter().try_for_each(|(slot, (object, id))| self.check_object(*slot, *object, *id))
    }

    fn finish(&mut self) -> Result<(), Breach> {
        while let Some((slot, _)) = self.objects.first_key_value() {
            self.free(*slot)?;
        }
        // A smaller reserve is never refused.
        if let Err(error) = self.cache.reserve(0) {
            return self.refused(error);
        }
        self.reserved = 0;
        self.check()?;
        self.cache.shrink();
        self.cache.check_empty().map_err(Breach::NotEmpty)
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
