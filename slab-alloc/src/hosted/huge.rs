//! Blocks above 2 MiB: mappings of their own, grown by `mremap`; those freed lately are kept for the next request.
//!
//! ```text
//!  table: word of the first granule ─► record: base, bytes
//!  kept:  │ base, bytes, age │ … up to 32, neighbours joined
//! ```
//! Two such blocks never begin in one granule, because each is longer than one, so a 4-KiB aligned place will do.
#![expect(unsafe_code, reason = "maps and unmaps")]

use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::map::{Entry, Map};
use super::system::System;

/// How many freed mappings are kept.
const KEPT: usize = 32;
/// Records in one block of them.
const RECORDS: usize = 1024;
/// Blocks of records: so many mappings at once are possible, far more than Linux allows.
const BLOCKS: usize = if cfg!(miri) { 4 } else { 256 };
/// A remainder shorter than this goes back at once.
const WORTH_KEEPING: usize = 1 << 20;

/// One mapping in use; or, unused, the number of the next unused record in `bytes`.
#[derive(Debug)]
#[repr(C)]
struct Record {
    base: Cell<*mut u8>,
    bytes: Cell<usize>,
}

#[derive(Debug)]
struct Kept {
    base: Cell<*mut u8>,
    bytes: Cell<usize>,
    age: Cell<u8>,
}

#[derive(Debug)]
pub(crate) struct Mappings {
    blocks: [Cell<*const [Record; RECORDS]>; BLOCKS],
    records: Cell<u32>,
    /// The first unused record, plus 1.
    unused: Cell<u32>,
    kept: [Kept; KEPT],
    /// Bytes in use.
    pub(crate) in_use: Cell<usize>,
}

impl Mappings {
    pub(crate) const fn new() -> Self {
        Self {
            blocks: [const { Cell::new(ptr::null()) }; BLOCKS],
            records: Cell::new(0),
            unused: Cell::new(0),
            kept: [const { Kept { base: Cell::new(ptr::null_mut()), bytes: Cell::new(0), age: Cell::new(0) } };
                KEPT],
            in_use: Cell::new(0),
        }
    }

    fn record(&self, number: u32) -> Option<&Record> {
        let block = self.blocks.get(number as usize / RECORDS)?.get();
        // SAFETY: blocks are null or were made by `new_record`, zeroed and for ever.
        unsafe { block.as_ref() }?.get(number as usize % RECORDS)
    }

    fn new_record<S: System>(&self, system: &S) -> Option<u32> {
        if let Some(number) = self.unused.get().checked_sub(1) {
            #[expect(clippy::cast_possible_truncation, reason = "a number of a record")]
            self.unused.set(self.record(number)?.bytes.get() as u32);
            return Some(number);
        }
        let number = self.records.get();
        let block = self.blocks.get(number as usize / RECORDS)?;
        if block.get().is_null() {
            let memory = system.map(size_of::<[Record; RECORDS]>(), 4096)?;
            block.set(memory.as_ptr().cast::<[Record; RECORDS]>().cast_const());
        }
        self.records.set(number + 1);
        Some(number)
    }

    /// Base and bytes of the mapping with this record.
    pub(crate) fn get(&self, number: u32) -> Option<(NonNull<u8>, usize)> {
        let record = self.record(number)?;
        Some((NonNull::new(record.base.get())?, record.bytes.get()))
    }

    /// How many are in use.
    pub(crate) fn count(&self) -> usize {
        (0..self.records.get()).filter(|number| self.get(*number).is_some()).count()
    }

    /// A mapping of at least `bytes`, which are whole pages and more than a granule; whether it is zero.
    pub(crate) fn take<S: System>(
        &self,
        system: &S,
        map: &Map,
        bytes: usize,
        align: usize,
    ) -> Option<(NonNull<u8>, bool)> {
        let number = self.new_record(system)?;
        let found = match self.take_kept(system, bytes, align) {
            Some(base) => Some((base, false)),
            None => {
                self.make_room(system, bytes);
                system.map(bytes, align).map(|base| (base, true))
            }
        };
        match found {
            Some((base, zero)) if system.prepare_table(base.as_ptr().addr(), bytes) => {
                self.enter(system, map, number, base, bytes);
                self.in_use.set(self.in_use.get() + bytes);
                Some((base, zero))
            }
            other => {
                if let Some((base, _)) = other {
                    // SAFETY: taken above, used by nobody.
                    unsafe { system.unmap(base, bytes) };
                }
                self.forget_record(number);
                None
            }
        }
    }

    fn enter<S: System>(&self, system: &S, map: &Map, number: u32, base: NonNull<u8>, bytes: usize) {
        if let Some(record) = self.record(number) {
            record.base.set(base.as_ptr());
            record.bytes.set(bytes);
        }
        // SAFETY: `map` or `remap` returned the mapping, and the table's words are prepared.
        unsafe { map.write(system, base.as_ptr().addr(), 1, Entry::Huge(number)) };
    }

    fn forget_record(&self, number: u32) {
        if let Some(record) = self.record(number) {
            record.base.set(ptr::null_mut());
            record.bytes.set(self.unused.replace(number + 1) as usize);
        }
    }

    /// The kept mapping that fits best, its rest cut off.
    fn take_kept<S: System>(&self, system: &S, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let fits = |kept: &&Kept| kept.bytes.get() >= bytes && kept.base.get().addr() & (align - 1) == 0;
        let kept = self.kept.iter().filter(fits).min_by_key(|kept| kept.bytes.get())?;
        let base = NonNull::new(kept.base.get())?;
        let rest = kept.bytes.get() - bytes;
        let end = base.as_ptr().wrapping_add(bytes);
        if rest >= WORTH_KEEPING {
            kept.base.set(end);
            kept.bytes.set(rest);
        } else {
            kept.bytes.set(0);
            if let (Some(end), true) = (NonNull::new(end), rest > 0) {
                // SAFETY: the end of a mapping that nobody uses.
                unsafe { system.unmap(end, rest) };
            }
        }
        Some(base)
    }

    /// Unmaps kept ones, the oldest first, until as much is gone as is wanted anew: keeping never raises the peak.
    fn make_room<S: System>(&self, system: &S, bytes: usize) {
        let mut gone = 0;
        while gone < bytes {
            let oldest =
                self.kept.iter().filter(|kept| kept.bytes.get() > 0).max_by_key(|kept| kept.age.get());
            let Some(kept) = oldest else { return };
            gone += kept.bytes.get();
            drop_kept(system, kept);
        }
    }

    /// Takes a mapping back.
    ///
    /// # Safety
    /// The record's mapping is no longer used.
    pub(crate) unsafe fn give<S: System>(&self, system: &S, map: &Map, number: u32) {
        let Some((base, bytes)) = self.get(number) else { return };
        // SAFETY: as in `enter`.
        unsafe { map.write(system, base.as_ptr().addr(), 1, Entry::Nothing) };
        if !cfg!(hectare_plant = "hosted_stale_word") {
            self.forget_record(number);
        }
        self.in_use.set(self.in_use.get() - bytes);
        self.keep(system, base.as_ptr(), bytes);
    }

    fn keep<S: System>(&self, system: &S, mut base: *mut u8, mut bytes: usize) {
        for kept in &self.kept {
            if kept.bytes.get() > 0 && S::MERGES {
                if kept.base.get().wrapping_add(kept.bytes.get()) == base {
                    base = kept.base.get();
                } else if base.wrapping_add(bytes) != kept.base.get() {
                    continue;
                }
                bytes += kept.bytes.replace(0);
            }
        }
        let free = self.kept.iter().find(|kept| kept.bytes.get() == 0);
        // With no place left the oldest goes.
        let place = free.or_else(|| self.kept.iter().max_by_key(|kept| kept.age.get()));
        if let Some(kept) = place {
            drop_kept(system, kept);
            kept.base.set(base);
            kept.bytes.set(bytes);
            kept.age.set(0);
        }
    }

    /// Makes a mapping longer or shorter, moving it if it must.
    ///
    /// # Safety
    /// The record's mapping is in use by the caller; after `Some` only at the returned place. `bytes` are whole pages.
    pub(crate) unsafe fn resize<S: System>(
        &self,
        system: &S,
        map: &Map,
        number: u32,
        bytes: usize,
    ) -> Option<NonNull<u8>> {
        let (base, old) = self.get(number)?;
        // SAFETY: the record's mapping is whole; the caller uses the new place only.
        let new = unsafe { system.remap(base, old, bytes) }?;
        if !system.prepare_table(new.as_ptr().addr(), bytes) {
            // SAFETY: as above.
            return unsafe { system.remap(new, bytes, old) }.filter(|back| *back == base);
        }
        // SAFETY: as in `enter`: the old place was a mapping.
        unsafe { map.write(system, base.as_ptr().addr(), 1, Entry::Nothing) };
        self.enter(system, map, number, new, bytes);
        self.in_use.set(self.in_use.get() + bytes - old);
        Some(new)
    }

    pub(crate) fn tick<S: System>(&self, system: &S, _map: &Map, all: bool) {
        for kept in self.kept.iter().filter(|kept| kept.bytes.get() > 0) {
            kept.age.set(kept.age.get().saturating_add(1));
            if all || kept.age.get() > 2 {
                drop_kept(system, kept);
            }
        }
    }
}

fn drop_kept<S: System>(system: &S, kept: &Kept) {
    let bytes = kept.bytes.replace(0);
    if let (Some(base), true) = (NonNull::new(kept.base.get()), bytes > 0) {
        // SAFETY: kept mappings are used by nobody.
        unsafe { system.unmap(base, bytes) };
    }
}
