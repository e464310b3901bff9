//! What every page of the window should be, and whether reports say so.
use core::fmt::Write;

use hectare_core::{AccessKind, Frame, Permissions};
use hectare_paging::{Attributes, Mapping, Touched};

use crate::arch::{Console, Machine};

/// A page that is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Relative to the first frame that pages show.
    pub frame: u32,
    pub attributes: Attributes,
    /// What was done through this page since its bits were cleared.
    pub done: Touched,
    /// What may be reported: a leaf, and a contiguous run, has its bits in common, and where a translation may still be
    /// in use tables are careful.
    pub may: Touched,
}

/// A page of the window.
pub type Slot = Option<Mapped>;

impl Mapped {
    /// Whether the kernel may: the machines are told to keep it away from pages of the user, unless it has the key.
    pub fn allows(&self, kind: AccessKind, key: bool) -> bool {
        let right = match kind {
            AccessKind::Read => Permissions::READ,
            AccessKind::Write => Permissions::WRITE,
            AccessKind::Execute => Permissions::EXECUTE,
        };
        let permissions = self.attributes.permissions;
        permissions.contains(right) && (key || !permissions.contains(Permissions::USER))
    }
}

/// Whether everything in `low` is in `high`.
fn within(low: Touched, high: Touched) -> bool {
    low.or(high) == high
}

/// Compares the runs that a table reports, in order, with a part of the window.
pub struct Report<'a> {
    slots: &'a [Slot],
    /// The number of the first page, and the first frame that pages show.
    first: u64,
    data: Frame,
    next: usize,
    wrong: Option<&'static str>,
    /// Pages in large leaves.
    pub large: u64,
}

impl<'a> Report<'a> {
    pub const fn new(slots: &'a [Slot], first: u64, data: Frame) -> Self {
        Self { slots, first, data, next: 0, wrong: None, large: 0 }
    }

    /// The next run.
    pub fn run<F: Machine>(&mut self, mapping: Mapping<F>) {
        let from = mapping.pages().first().number().wrapping_sub(self.first) as usize;
        let count = mapping.count() as usize;
        let (Some(hole), Some(slots)) = (self.slots.get(self.next..from), self.slots.get(from..from + count))
        else {
            return self.wrong(mapping, None, "a run lies in the range, behind the one before");
        };
        if hole.iter().any(Option::is_some) {
            self.wrong(mapping, None, "every page that is mapped is reported");
        }
        self.next = from + count;
        let leaf = 1 << (mapping.leaf_size().log2() - F::PAGE.log2());
        self.large += if leaf > 1 { count as u64 } else { 0 };
        let frame = mapping.frames().first().number().wrapping_sub(self.data.number());
        for (slot, nth) in slots.iter().zip(0..) {
            let Some(page) = slot else {
                return self.wrong(mapping, None, "a page that is reported is mapped");
            };
            if u64::from(page.frame) != frame + nth || page.attributes != mapping.attributes() {
                self.wrong(mapping, *slot, "a page is reported with its frame and its rights");
            }
            if !within(page.done, mapping.touched()) {
                self.wrong(mapping, *slot, "a page that was read or written is reported so");
            }
        }
        for page in slots.iter().step_by(leaf).flatten() {
            if !within(mapping.touched(), page.may) {
                self.wrong(mapping, Some(*page), "a page that nobody touched is not reported as touched");
            }
        }
    }

    fn wrong<F: Machine>(&mut self, run: Mapping<F>, page: Slot, what: &'static str) {
        if self.wrong.is_none() {
            let _ = writeln!(Console, "reported {run:x?}, by the model {page:x?}");
            self.wrong = Some(what);
        }
    }

    /// What must hold and did not.
    pub fn end(mut self) -> Option<&'static str> {
        if self.slots.iter().skip(self.next).any(Option::is_some) {
            self.wrong.get_or_insert("every page that is mapped is reported");
        }
        self.wrong
    }
}
