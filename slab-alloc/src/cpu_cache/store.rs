//! What the CPUs of a cache share: slabs, and the depot of full magazines. Under the cache's lock.
#![expect(unsafe_code, reason = "takes objects back")]

use core::ptr::NonNull;

use hectare_core::AllocError;

use crate::cache::Cache;
use crate::magazine::{Depot, Magazine, ROUNDS};

/// What the lock guards.
pub(super) struct Store<C> {
    pub(super) objects: C,
    pub(super) depot: Depot,
    /// Objects that their slabs did not take back.
    pub(super) rejected: u64,
}

impl<C: Cache> Store<C> {
    pub(super) const fn new(objects: C) -> Self {
        Self { objects, depot: Depot::EMPTY, rejected: 0 }
    }

    /// Fills a magazine from the slabs, at least one object.
    pub(super) fn fill(&mut self, magazine: &mut Magazine, target: usize) -> Result<(), AllocError> {
        let target = target.clamp(1, ROUNDS);
        while magazine.len() < target {
            match self.objects.allocate() {
                Ok(object) => magazine.push(object.cast(), target),
                Err(error) if magazine.is_empty() => return Err(error),
                Err(_) => break,
            };
        }
        Ok(())
    }

    /// Gives every object of a magazine to its slab.
    pub(super) fn empty(&mut self, magazine: &mut Magazine) {
        while let Some(object) = magazine.pop() {
            self.give(object);
        }
    }

    pub(super) fn empty_depot(&mut self) {
        while let Some(mut magazine) = self.depot.pop() {
            self.empty(&mut magazine);
        }
    }

    pub(super) fn give(&mut self, object: NonNull<u8>) {
        // SAFETY: objects in magazines and in the mailbox were freed by their owners.
        if unsafe { self.objects.free(object.cast()) }.is_err() {
            self.rejected = self.rejected.saturating_add(1);
        }
    }
}
