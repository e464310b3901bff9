//! The MMU is asked: loads, stores and jumps, whose answers the model knows.
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{AccessKind, Frame, Page, PageRun, VirtAddr};
use hectare_paging::Touched;
use hectare_paging::format::SetBy;

use crate::arch::{self, Console, Fault, Machine};
use crate::live::{Live, Side};
use crate::tlb::STALE_CODE;

/// What accesses came to.
#[derive(Default)]
pub struct Answers {
    pub accesses: u32,
    pub faults: u32,
    /// Pages that software marked as accessed or dirty, when a fault asked for that.
    pub marked: u32,
}

impl<F: Machine> Live<'_, F> {
    /// One access of this kind to a page of the window, through the table that is loaded.
    pub fn probe(&mut self, page: usize, kind: AccessKind) {
        let kind = match kind {
            AccessKind::Execute if STALE_CODE.load(Relaxed) => AccessKind::Read,
            kind => kind,
        };
        let address = self.address(page);
        let offset = match (kind, self.random.below(8)) {
            (AccessKind::Execute, _) => 0,
            (_, 0) => F::PAGE.bytes() - 4,
            _ => 4 + 4 * self.random.below(1023),
        };
        let value = self.random.below(1 << 32) as u32;
        let at = address + offset;
        let slot = self.sides[self.loaded].slots[page];
        let frame = slot.map(|mapped| self.frame(mapped.frame));
        let read = kind == AccessKind::Read;
        if let Some(frame) = frame.filter(|_| kind != AccessKind::Execute) {
            self.memory.write(frame, offset, if read { value } else { !value });
        }
        // With the key, the rights of pages of the user count for the kernel too, but not to execute them.
        let key = kind != AccessKind::Execute && self.random.below(2) == 0;
        let allowed = slot.is_some_and(|mapped| mapped.allows(kind, key));
        let done = if kind == AccessKind::Write { Touched::DIRTY } else { Touched::ACCESSED };
        let mut found = ask(kind, at, value, key);
        if allowed && self.marks_by_fault(at, done) {
            // What the hardware does not mark itself it refuses once.
            let present = found.err().and_then(|fault| fault.present).map(|_| true);
            self.check(
                found == Err(Fault { address: at, kind, present }),
                "software is asked to mark a page",
            );
            let Side { table, first, .. } = &mut self.sides[self.loaded];
            let run = PageRun::new(Page::new(*first + page as u64), 1).expect("a page");
            table.touch(run, done).expect("room to split");
            self.answers.marked += 1;
            found = ask(kind, at, value, key);
        }
        let expected = if allowed {
            Ok(value)
        } else {
            let present = found.err().and_then(|fault| fault.present).map(|_| slot.is_some());
            Err(Fault { address: at, kind, present })
        };
        self.answers.accesses += 1;
        self.answers.faults += u32::from(!allowed);
        if found != expected {
            let _ =
                writeln!(Console, "{kind:?} at {at:#x}: {found:x?}, by the model {expected:x?}, {slot:?}");
        }
        self.check(found == expected, "an access goes as the model says");
        if let Some(frame) = frame.filter(|_| kind == AccessKind::Write) {
            let word = self.memory.read(frame, offset);
            self.check(
                word == if allowed { value } else { !value },
                "a write is in the page's frame, a refused one nowhere",
            );
        }
        let hit = self.sides[self.loaded].table.find(VirtAddr::new(at));
        let same = match (hit, slot, frame) {
            (None, None, _) => true,
            (Some(hit), Some(mapped), Some(frame)) => {
                let memory = frame.start(F::PAGE).and_then(|start| start.checked_add(offset));
                hit.attributes() == mapped.attributes && Some(hit.address) == memory
            }
            _ => false,
        };
        self.check(same, "the table translates as the model says");
        if allowed {
            self.sides[self.loaded].touch(page, done);
        }
    }

    /// Whether the first access of this kind is refused, since software has to mark the page for it.
    fn marks_by_fault(&self, address: u64, done: Touched) -> bool {
        let hit = self.sides[self.loaded].table.find(VirtAddr::new(address));
        let marked = hit.map_or(Touched::DIRTY, |hit| hit.touched());
        F::ACCESSED == SetBy::Fault && !marked.accessed
            || F::DIRTY == SetBy::Fault && done.dirty && !marked.dirty
    }

    pub fn frame(&self, frame: u32) -> Frame {
        self.memory.frame(frame)
    }
}

/// The MMU's answer, with the key to pages of the user or without.
fn ask(kind: AccessKind, at: u64, value: u32, key: bool) -> Result<u32, Fault> {
    arch::open(key);
    let found = match kind {
        AccessKind::Read => arch::read(at),
        AccessKind::Write => arch::write(at, value).map(|()| value),
        AccessKind::Execute => arch::execute(at).map(|()| value),
    };
    arch::open(false);
    found
}

impl<F: Machine> Side<'_, F> {
    /// Something was done through a page; the hardware may note that for its whole leaf, or contiguous run.
    fn touch(&mut self, page: usize, done: Touched) {
        let address = VirtAddr::new((self.first + page as u64) << F::PAGE.log2());
        let Some(hit) = self.table.find(address) else { return };
        let Some(mapped) = &mut self.slots[page] else { return };
        mapped.done = mapped.done.or(done);
        let known = mapped.may.or(done) == mapped.may;
        let level = (0..F::LEVELS).find(|level| F::leaf_size(*level) == hit.leaf_size()).unwrap_or(0);
        let run = F::RUNS[level].map_or(0, |run| run.log2);
        let pages = 1_u64 << (hit.leaf_size().log2() + run - F::PAGE.log2());
        if known && level > 0 {
            return; // a large leaf's pages know the same
        }
        let start = (self.first + page as u64) & !(pages - 1);
        let from = start.saturating_sub(self.first) as usize;
        let end = (start + pages).saturating_sub(self.first) as usize;
        let end = end.min(self.slots.len());
        for mapped in self.slots[from..end].iter_mut().flatten() {
            mapped.may = mapped.may.or(done);
        }
    }
}
