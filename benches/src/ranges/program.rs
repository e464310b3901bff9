//! A trace as requests for ranges.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use hectare_testkit::trace::vm::{Action, VmTrace};

use crate::heap;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The block, below [`Program::slots`].
    pub slot: u32,
    /// Units to take; 0 gives the block back.
    pub length: u32,
}

/// A valid sequence of operations: only live blocks are freed, only dead ones allocated.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The trace's name.
    pub name: String,
    /// The bytes that a unit stands for.
    pub unit: u64,
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// Number of slots.
    pub slots: usize,
    /// The most units that are live at one time, and the operation after which they first are.
    pub peak: (u64, usize),
    /// The most blocks that are live at one time.
    pub blocks: usize,
    pub(super) live: (u64, usize),
    pub(super) lengths: Vec<u32>,
}

impl Program {
    /// The sizes of a heap trace in units of 16 bytes; a block that changes its size is freed and taken anew.
    #[must_use]
    pub fn of_heap(trace: &heap::Program) -> Self {
        let mut program = Self { name: trace.name().to_owned(), unit: 16, ..Self::default() };
        for op in trace.ops() {
            let units = op.size.div_ceil(16).max(1);
            match op.kind {
                heap::OpKind::Allocate | heap::OpKind::AllocateZeroed => program.take(op.slot, units),
                heap::OpKind::Free => program.give(op.slot),
                heap::OpKind::Reallocate => {
                    program.give(op.slot);
                    program.take(op.slot, units);
                }
            }
        }
        program
    }

    /// The mappings that processes made, in pages, all in one space. What is mapped over a part of another mapping was
    /// placed by the program, not the allocator, and is left out; a block is freed when its last page is unmapped.
    #[must_use]
    pub fn of_vm(trace: &VmTrace) -> Self {
        let mut program = Self { name: trace.name.clone(), unit: trace.page, ..Self::default() };
        let mut maps = Maps::default();
        let pages = |bytes: u64| bytes.div_ceil(trace.page);
        for op in &trace.ops {
            let process = op.process;
            match op.action {
                Action::Map { start, length, .. } => {
                    maps.map(&mut program, process, pages(start), pages(length));
                }
                Action::Unmap { start, length } => {
                    maps.unmap(&mut program, process, pages(start), pages(length));
                }
                Action::Remap { old, old_length, new_length, new, .. } => {
                    maps.unmap(&mut program, process, pages(old), pages(old_length));
                    maps.map(&mut program, process, pages(new), pages(new_length));
                }
                Action::Exec { .. } | Action::End => maps.unmap(&mut program, process, 0, u64::MAX),
                _ => {}
            }
        }
        program
    }

    fn take(&mut self, slot: u32, units: u32) {
        self.slots = self.slots.max(slot as usize + 1);
        self.lengths.resize(self.slots, 0);
        self.lengths[slot as usize] = units;
        self.ops.push(Op { slot, length: units });
        self.live = (self.live.0 + u64::from(units), self.live.1 + 1);
        self.blocks = self.blocks.max(self.live.1);
        if self.live.0 > self.peak.0 {
            self.peak = (self.live.0, self.ops.len());
        }
    }

    fn give(&mut self, slot: u32) {
        self.ops.push(Op { slot, length: 0 });
        self.live = (self.live.0 - u64::from(self.lengths[slot as usize]), self.live.1 - 1);
    }
}

/// The mappings that are live: where the trace has them, and which block they are of.
#[derive(Debug, Default)]
struct Maps {
    /// By process and first page: the page after the last, and the slot.
    pieces: BTreeMap<(u32, u64), (u64, u32)>,
    /// Pages of each slot that are still mapped.
    rest: Vec<u64>,
    spare: Vec<u32>,
}

impl Maps {
    fn map(&mut self, program: &mut Program, process: u32, start: u64, pages: u64) {
        let Ok(length) = u32::try_from(pages) else { return };
        let taken = self.within(process, start, start + pages).next().is_some();
        // Above 4 TiB nobody allocates: such reservations would make every space look empty.
        if taken || length == 0 || length > 1 << 26 {
            return;
        }
        let slot = self.spare.pop().unwrap_or_else(|| {
            self.rest.push(0);
            self.rest.len() as u32 - 1
        });
        self.rest[slot as usize] = pages;
        self.pieces.insert((process, start), (start + pages, slot));
        program.take(slot, length);
    }

    /// The pieces of a process that overlap these pages.
    fn within(&self, process: u32, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, u32)> {
        let before = self.pieces.range((process, 0)..(process, start)).next_back();
        let inside = self.pieces.range((process, start)..(process, end));
        let all = before.into_iter().chain(inside).map(|(&(_, from), &(to, slot))| (from, to, slot));
        all.filter(move |&(_, to, _)| to > start)
    }

    fn unmap(&mut self, program: &mut Program, process: u32, start: u64, pages: u64) {
        let end = start.saturating_add(pages);
        let gone: Vec<_> = self.within(process, start, end).collect();
        for (from, to, slot) in gone {
            self.pieces.remove(&(process, from));
            if from < start {
                self.pieces.insert((process, from), (start, slot));
            }
            if to > end {
                self.pieces.insert((process, end), (to, slot));
            }
            let rest = &mut self.rest[slot as usize];
            *rest -= to.min(end) - from.max(start);
            if *rest == 0 {
                self.spare.push(slot);
                program.give(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hectare_testkit::trace::vm::VmOp;

    use super::*;

    #[test]
    fn a_mapping_is_given_back_with_its_last_page_and_what_lies_over_it_is_left_out() {
        let rights = hectare_core::Permissions::READ | hectare_core::Permissions::USER;
        let map = |start: u64, length: u64| Action::Map {
            start,
            length,
            permissions: rights,
            flags: 0x22,
            file: -1,
            offset: 0,
        };
        let actions = [
            map(0x10000, 0x4000),
            map(0x11000, 0x1000), // over the first
            map(0x20000, 0x1000),
            Action::Unmap { start: 0x10000, length: 0x1000 },
            Action::Unmap { start: 0x12000, length: 0x2000 },
            Action::Unmap { start: 0x11000, length: 0x1000 }, // its last page
            Action::End,
        ];
        let ops = actions.into_iter().map(|action| VmOp { process: 0, action }).collect();
        let trace = VmTrace { name: "t".into(), page: 0x1000, processes: 1, ops };
        let program = Program::of_vm(&trace);
        let op = |slot, length| Op { slot, length };
        assert_eq!(program.ops, [op(0, 4), op(1, 1), op(0, 0), op(1, 0)]);
        assert_eq!((program.peak, program.blocks, program.slots), ((5, 2), 2, 2));
    }
}
