//! Which slots are live, and the figures of the header: everything is recomputed from the operations.

use super::error::Problem;

/// A live object: what it weighs (bytes or frames), and a detail that its format needs again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) units: u64,
    pub(super) detail: u8,
}

/// The books of a trace.
///
/// # Invariants
/// * `slots` has one entry for each slot used so far: its size is bounded by the operations read, not by the header
/// * `live_units` and `live_objects` are the sum and number of the live entries; the peaks are their highest values after
///   any operation
#[derive(Debug, Default)]
pub(super) struct Ledger {
    slots: Vec<Option<Entry>>,
    pub(super) ops: u64,
    pub(super) contexts: u32,
    pub(super) live_units: u64,
    pub(super) live_objects: u64,
    pub(super) peak_units: u64,
    pub(super) peak_objects: u64,
}

impl Ledger {
    /// How many slots have been used.
    pub(super) fn used(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Where `slot` has its entry; one more than there are if it is the lowest never used.
    fn index(&self, slot: u32, new: bool) -> Result<usize, Problem> {
        let limit = self.slots.len() + usize::from(new);
        match usize::try_from(slot) {
            Ok(index) if index < limit => Ok(index),
            _ => Err(Problem::Slot { slot: i64::from(slot), used: self.used() }),
        }
    }

    /// The live object in `slot`.
    pub(super) fn get(&self, slot: u32) -> Result<Entry, Problem> {
        self.slots[self.index(slot, false)?].ok_or(Problem::NotLive { slot })
    }

    /// An object comes to life in `slot`.
    pub(super) fn occupy(&mut self, slot: u32, entry: Entry) -> Result<(), Problem> {
        let index = self.index(slot, true)?;
        if index == self.slots.len() {
            self.slots.push(None);
        }
        if self.slots[index].is_some() {
            return Err(Problem::Occupied { slot });
        }
        self.live_units = self.live_units.checked_add(entry.units).ok_or(Problem::Sum)?;
        self.live_objects += 1;
        self.slots[index] = Some(entry);
        Ok(())
    }

    /// The object in `slot` dies.
    pub(super) fn vacate(&mut self, slot: u32) -> Result<Entry, Problem> {
        let entry = self.get(slot)?;
        let index = self.index(slot, false)?;
        self.slots[index] = None;
        self.live_units -= entry.units;
        self.live_objects -= 1;
        Ok(entry)
    }

    /// An operation that counts is complete.
    pub(super) fn complete(&mut self) {
        self.ops += 1;
        self.peak_units = self.peak_units.max(self.live_units);
        self.peak_objects = self.peak_objects.max(self.live_objects);
    }

    /// The thread or CPU of the operations that follow.
    pub(super) fn context(&mut self, id: u32, field: &'static str) -> Result<(), Problem> {
        let count = id.checked_add(1).ok_or(Problem::Range { field, found: u64::from(id) })?;
        self.contexts = self.contexts.max(count);
        Ok(())
    }
}
