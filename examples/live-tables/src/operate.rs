//! An operation on a table, and on the model.
use core::fmt::Write;

use hectare_core::{FrameRun, Page, Permissions};
use hectare_paging::table::TableError;
use hectare_paging::{Flush, Touched};

use crate::arch::{Console, Machine};
use crate::live::{Live, Side};
use crate::model::{Mapped, Report};
use crate::operation::{self, Operation};
use crate::tlb::Here;

impl<F: Machine> Live<'_, F> {
    /// Does the operation that is noted, to one of the tables.
    pub fn operate(&mut self, who: usize) {
        let operation = self.operation;
        let at = operation.at();
        // New mappings, and moved ones, come after what the old ones at their place owe.
        if matches!(
            operation,
            Operation::Map { .. } | Operation::Replace { .. } | Operation::Remap(..) | Operation::Copy(..)
        ) {
            self.pay(0);
            self.pay(1);
        }
        let data = self.memory.data.first();
        let unpaid = self.sides[who].owed.is_some();
        let [one, other] = &mut self.sides;
        let (side, other) = if who == 0 { (one, other) } else { (other, one) };
        let pages = side.pages(at);
        let range = at.first..at.first + at.count;
        let Side { table, slots, first, .. } = side;
        let mut report = Report::new(&slots[range.clone()], *first + at.first as u64, data);
        let mut wrong = None;
        let result = match operation {
            Operation::Map { frame, attributes, options, .. } => {
                let frames = FrameRun::new(self.memory.frame(frame), at.count as u64).expect("frames");
                let taken = slots[range.clone()].iter().any(Option::is_some);
                let result = table.map(pages.first(), frames, attributes, options);
                let result = result.map(|fresh| fresh.finish(&Here));
                wrong = (result.is_ok() && taken).then_some("nothing is mapped over what is there");
                if result.is_ok() {
                    let touched = options.touched;
                    for (slot, frame) in slots[range].iter_mut().zip(frame..) {
                        *slot = Some(Mapped { frame, attributes, done: touched, may: touched });
                    }
                }
                result.map(|()| None).map_err(|error| (error, taken))
            }
            Operation::Unmap(_) => {
                let result = table.unmap(pages, |run| report.run(run));
                self.large += report.large;
                if result.is_ok() {
                    wrong = report.end();
                    slots[range].fill(None);
                }
                result.map(Some).map_err(|error| (error, false))
            }
            Operation::Forget(_) => {
                let result = table.forget(pages);
                if result.is_ok() {
                    slots[range].fill(None);
                }
                result.map(Some).map_err(|error| (error, false))
            }
            Operation::Protect(_, permissions) => {
                // A planted fault: the neighbour of a part loses its page.
                let lost = Page::new(pages.end().number());
                if cfg!(hectare_plant = "live_lost_neighbour") && range.end < slots.len() {
                    let run = hectare_core::PageRun::new(lost, 1).expect("a page");
                    if let Ok(token) = table.unmap(run, |_| {}) {
                        table.finish(token, &Here).expect("its own token");
                    }
                }
                let result = table.protect(pages, permissions);
                if result.is_ok() {
                    for mapped in slots[range].iter_mut().flatten() {
                        mapped.attributes.permissions = permissions;
                        mapped.careful(unpaid);
                    }
                }
                result.map(Some).map_err(|error| (error, false))
            }
            Operation::Update(_, software) => {
                let result = table.update(pages, |old| old.with_software(software & 3));
                if result.is_ok() {
                    for mapped in slots[range].iter_mut().flatten() {
                        mapped.attributes.software = software & 3;
                        mapped.careful(unpaid);
                    }
                }
                result.map(Some).map_err(|error| (error, false))
            }
            Operation::Harvest(_, clear) => {
                let result = table.harvest(pages, clear, |run| report.run(run));
                self.large += report.large;
                if result.is_ok() {
                    wrong = report.end();
                    // A contiguous run that the range cuts has its bits in common, as before.
                    let run = 1 << F::RUNS[0].map_or(0, |run| run.log2);
                    let whole = range.start.next_multiple_of(run)..range.end & !(run - 1);
                    for (page, slot) in range.clone().zip(&mut slots[range]) {
                        let Some(mapped) = slot else { continue };
                        mapped.done = less(mapped.done, clear);
                        if whole.contains(&page) {
                            mapped.may = less(mapped.may, clear);
                        }
                    }
                }
                let result = result.map(|token| {
                    // A planted fault: translations that are marked dirty stay, and the next write marks nothing.
                    if cfg!(hectare_plant = "live_harvest_unpaid") {
                        core::mem::forget(token);
                        None
                    } else {
                        Some(token)
                    }
                });
                result.map_err(|error| (error, false))
            }
            Operation::Coalesce(_) => {
                let result = table.coalesce(pages);
                // Tables that lie in it as a whole; the window begins in the middle of one.
                let (table, half) = (operation::table::<F>(), operation::table::<F>() / 2);
                let from = (range.start + half).next_multiple_of(table) - half;
                let end = ((range.end + half) & !(table - 1)).saturating_sub(half);
                let tables = slots.get_mut(from..end).into_iter().flatten();
                tables.flatten().for_each(|mapped| mapped.careful(true));
                result.map(Some).map_err(|error| (error, false))
            }
            Operation::Remap(_, to) => {
                let into = to..to + at.count;
                let crossed = into.start < range.end && range.start < into.end;
                let bad = crossed || slots[into.clone()].iter().any(Option::is_some);
                let result = table.remap(pages, Page::new(*first + to as u64));
                wrong = (result.is_ok() && bad).then_some("nothing is moved over what is there");
                if result.is_ok() {
                    for (from, into) in range.zip(into) {
                        slots[into] = slots[from].take();
                    }
                }
                result.map(Some).map_err(|error| (error, bad))
            }
            Operation::Replace { page, frame, attributes, touched } => {
                let bad = slots[page].is_none();
                let frame_there = self.memory.frame(frame);
                let result = table.replace(pages.first(), frame_there, attributes, touched);
                wrong = (result.is_ok() && bad).then_some("only what is there is replaced");
                if result.is_ok() {
                    slots[page] = Some(Mapped { frame, attributes, done: touched, may: touched });
                }
                result.map(Some).map_err(|error| (error, bad))
            }
            Operation::Copy(_, protect) => {
                let pairs = || slots[range.clone()].iter().zip(&other.slots[range.clone()]);
                let bad = pairs().any(|(ours, theirs)| ours.is_some() && theirs.is_some());
                let result = table.copy_into(pages, &mut other.table, protect, |_| {});
                wrong = (result.is_ok() && bad).then_some("nothing is copied over what is there");
                if result.is_ok() {
                    for (ours, theirs) in slots[range.clone()].iter_mut().zip(&mut other.slots[range]) {
                        let Some(mapped) = ours else { continue };
                        if protect {
                            mapped.attributes.permissions.remove(Permissions::WRITE);
                        }
                        mapped.careful(true);
                        *theirs = Some(Mapped { done: Touched::NO, ..*mapped });
                    }
                }
                let result = result.map(|(token, fresh)| {
                    fresh.finish(&Here);
                    Some(token)
                });
                result.map_err(|error| (error, bad))
            }
        };
        self.check(wrong.is_none(), wrong.unwrap_or("an operation does what the model says"));
        match result {
            Ok(Some(token)) => self.owe(who, token),
            Ok(None) => {}
            Err((error, expected)) => self.refusal(error, expected),
        }
    }

    fn owe(&mut self, who: usize, token: Flush) {
        let Side { table, owed, .. } = &mut self.sides[who];
        match owed {
            Some(owed) => table.merge(owed, token).expect("of the same table"),
            None => *owed = Some(token),
        }
    }

    /// An operation was refused: because it had to be, or because there was no table.
    fn refusal(&mut self, error: TableError, expected: bool) {
        self.refused += 1;
        let tables = matches!(error, TableError::Frames(_)) && self.limited;
        let conflict =
            matches!(error, TableError::Mapped { .. } | TableError::Absent { .. } | TableError::Range { .. });
        let good = tables || expected && conflict;
        if !good {
            let _ = writeln!(Console, "{error:x?}");
        }
        self.check(good, "what is refused had to be");
    }
}

impl Mapped {
    /// Where the hardware might still set bits through an old translation, tables take them for set.
    fn careful(&mut self, careful: bool) {
        if careful {
            self.may = Touched::DIRTY;
        }
    }
}

fn less(touched: Touched, without: Touched) -> Touched {
    Touched { accessed: touched.accessed && !without.accessed, dirty: touched.dirty && !without.dirty }
}
