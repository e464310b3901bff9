//! What a fork does with tables: the same leaves in a second table, without the right to write in both.
//!
//! ```text
//!   ours     │ A rw │ B rw │ C r- │ ─ │      ours      │ A r- │ B r- │ C r- │ ─ │
//!   theirs   (nothing)                ──►    theirs    │ A r- │ B r- │ C r- │ ─ │     same frames, same bits
//! ```
#![forbid(unsafe_code)]

mod pass;

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameRun, FrameSource, Page, PageRun, Permissions};

use self::pass::{Copying, Frames, Sink, Target};
use super::change::Edits;
use super::fill::{plan, tables, taken};
use super::flush::{Flush, Fresh};
use super::memory::{Node, Reserve, Slot, Walk};
use super::range::Part;
use super::runs::Collector;
use super::{Mapping, PageTable, TableError, TableFormat, TableWindow, split};
use crate::{AtomicEntry, Attributes, Entry, Kind};

/// What became of [`PageTable::copy_frames`].
pub(crate) struct Copied<F: TableFormat, E> {
    /// The token of this table.
    pub(crate) owed: Flush,
    /// The other's.
    pub(crate) fresh: Fresh<F>,
    /// How many base pages were copied before the first that was refused.
    pub(crate) count: u64,
    /// That page, and why.
    pub(crate) refused: Option<(Page, E)>,
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Copies every leaf in the range into `other`, at the same addresses. With `write_protect` both lose the right to
    /// write, as copy-on-write wants it. `report` gets every run of leaves as both tables have it now; who counts
    /// references to frames counts there. Software state of absent pages is not copied.
    ///
    /// The first token is for this table; the second is `other`'s. Cost: a load and two stores a leaf (a compare-and-swap
    /// for one of them where the hardware may still set a bit). Huge leaves across the ends are split.
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach, are in another table's half on either side, `other` has
    /// something where a leaf would go, or a table is needed and cannot be had. Nothing is changed then, in either.
    pub fn copy_into<V: TableWindow, T: FrameSource>(
        &mut self,
        pages: PageRun,
        other: &mut PageTable<F, V, T>,
        write_protect: bool,
        report: impl FnMut(Mapping<F>),
    ) -> Result<(Flush, Fresh<F>), TableError> {
        let mut collector = Collector::new(report);
        let tokens = self.copy_with(pages, other, write_protect, &mut collector)?;
        collector.finish();
        Ok(tokens)
    }

    /// As [`copy_into`](Self::copy_into), but `each` gets frames alone, in pieces as they come, which costs less where they
    /// are in no order. It may refuse a piece: then it gets no more, but all leaves are copied nevertheless.
    pub(crate) fn copy_frames<V: TableWindow, T: FrameSource, E>(
        &mut self,
        pages: PageRun,
        other: &mut PageTable<F, V, T>,
        write_protect: bool,
        each: impl FnMut(FrameRun) -> Result<(), E>,
    ) -> Result<Copied<F, E>, TableError> {
        let mut frames = Frames::new(each);
        let (owed, fresh) = self.copy_with(pages, other, write_protect, &mut frames)?;
        let page = |(at, why)| (Page::new(F::delinear(at).value() >> F::PAGE.log2()), why);
        Ok(Copied { owed, fresh, count: frames.count, refused: frames.refused.map(page) })
    }

    fn copy_with<V: TableWindow, T: FrameSource>(
        &mut self,
        pages: PageRun,
        other: &mut PageTable<F, V, T>,
        write_protect: bool,
        sink: &mut impl Sink<F>,
    ) -> Result<(Flush, Fresh<F>), TableError> {
        let part = self.part(pages)?;
        other.part(pages)?;
        let (walk, into) = (Walk::new(&self.window), Walk::new(&other.window));
        let (Some(root), Some(target)) = (self.root_node(walk), other.root_node(into)) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        let cuts = split::needed(walk, root, part)?;
        let (needed, _) = count(walk, root, into, Some(target), part)?;
        let mut reserve = Reserve::take(needed, &other.window, &mut other.source)?;
        let mut ours = match Reserve::take(cuts, &self.window, &mut self.source) {
            Ok(ours) => ours,
            Err(error) => {
                reserve.give_back(&other.window, &mut other.source);
                return Err(error);
            }
        };
        let mut token = self.token();
        let walk = Walk::new(&self.window);
        let into = Walk::new(&other.window);
        if let (Some(root), Some(target)) = (self.root_node(walk), other.root_node(into)) {
            split::cut_ends(walk, root, part, &mut token, &mut ours);
            let change = |attributes: Attributes| {
                let taken = if write_protect { Permissions::WRITE } else { Permissions::empty() };
                attributes.with_permissions(attributes.permissions - taken)
            };
            let edits = Edits {
                walk,
                change,
                current: None,
                settled: self.is_settled(),
                unsettles: false,
                token: &mut token,
            };
            let mut copying = Copying::new(edits, into, sink, &mut reserve);
            copying.node(root, Target::Live(target), part);
            if copying.edits.unsettles {
                token.unsettled = 1;
                self.unsettled = self.unsettled.saturating_add(1);
            }
        }
        ours.give_back(&self.window, &mut self.source);
        reserve.give_back(&other.window, &mut other.source);
        Ok((token, Fresh::new(pages, other.asid)))
    }
}

/// How many tables the other side lacks below a node, and whether there is anything to copy.
fn count<F: TableFormat, W: TableWindow, V: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    into: Walk<'_, F, V>,
    target: Option<Node<'_, F>>,
    part: Part,
) -> Result<(u64, bool), TableError> {
    let level = node.level;
    if level == 0 && target.is_none() {
        // Nothing can be in the way; one leaf says that the table is needed.
        let (first, last) = part.indices::<F>(0);
        let cells = node.cells.get(first..=last).unwrap_or(&[]);
        return Ok((0, cells.iter().any(|cell| F::kind(cell.load(Relaxed), 0) == Kind::Leaf)));
    }
    let (mut needed, mut any) = (0, false);
    for (index, piece) in part.pieces::<F>(level) {
        match walk.slot(node, index) {
            Slot::Absent(_) | Slot::Reserved => {}
            Slot::Leaf(_) if piece.is_whole::<F>(level) => {
                any = true;
                if let Some(target) = target.filter(|target| target.load(index) != F::Entry::ZERO) {
                    if let Some(child) = into.child(target, index) {
                        plan(into, child, piece, level - 1)?;
                    }
                    return Err(taken(target, part, index));
                }
            }
            Slot::Leaf(_) => {
                any = true;
                match target.map(|target| (target, into.slot(target, index))) {
                    None => needed += tables::<F>(piece, level, level - 1),
                    Some((_, Slot::Table(child))) => needed += plan(into, child, piece, level - 1)?,
                    Some((_, Slot::Absent(entry))) if entry == F::Entry::ZERO => {
                        needed += tables::<F>(piece, level, level - 1);
                    }
                    Some((target, _)) => return Err(taken(target, part, index)),
                }
            }
            Slot::Table(child) => {
                let mut in_the_way = None;
                let below = match target.map(|target| (target, into.slot(target, index))) {
                    None => None,
                    Some((_, Slot::Table(child))) => Some(child),
                    Some((_, Slot::Absent(entry))) if entry == F::Entry::ZERO => None,
                    Some((target, _)) => {
                        in_the_way = Some(target);
                        None
                    }
                };
                let (tables, found) = count(walk, child, into, below, piece)?;
                if let Some(target) = in_the_way.filter(|_| found) {
                    return Err(taken(target, part, index));
                }
                any |= found;
                needed += tables + u64::from(found && below.is_none());
            }
        }
    }
    Ok((needed, any))
}
