//! Cutting at the ends of a range: no huge leaf, and no contiguous run, crosses a cut.
//!
//! ```text
//!   before   │              2 MiB              │          cut at ▼
//!   after    │ 4K │ 4K │ 4K │ … 512 of them … │ 4K │      same rights, same accessed and dirty bits
//! ```
//! The new table is filled first and then takes the leaf's place in one compare-and-swap: if the hardware set a bit in
//! between, the table is filled again. Where the architecture wants it, the leaf is made absent and invalidated first.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{FrameSource, PhysAddr};

use super::flush::{Flush, Invalidation, Span};
use super::memory::{Node, Reserve, Slot, Walk};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow};
use crate::{AtomicEntry, Entry, Touched};

/// The most entries that a contiguous run has (AArch64 with 16 KiB: 128).
pub(super) const MOST: usize = 128;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Takes what the cuts at both ends need, and cuts.
    pub(super) fn cut(&mut self, part: Part, token: &mut Flush) -> Result<(), TableError> {
        let walk = Walk::new(&self.window);
        match self.root_node(walk) {
            Some(root) => cut_below(walk, root, part, token, &mut self.source),
            None => Err(TableError::Unreachable { table: self.root }),
        }
    }

    /// Cuts where no token is handed out: what a break-before-make owes afterwards is paid through the window.
    pub(super) fn cut_and_pay(&mut self, part: Part) -> Result<(), TableError> {
        let mut token = self.token();
        self.cut(part, &mut token)?;
        if token.is_needed() {
            self.window.broken(&token.invalidation());
        }
        Ok(())
    }
}

/// Takes what the cuts at both ends of a part need, and cuts below a node that covers it.
pub(super) fn cut_below<F: TableFormat, W: TableWindow, S: FrameSource>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    token: &mut Flush,
    source: &mut S,
) -> Result<(), TableError> {
    let needed = needed(walk, node, part)?;
    if needed == 0 && !F::RUNS.iter().any(Option::is_some) {
        return Ok(());
    }
    let mut reserve = Reserve::take(needed, walk.window, source)?;
    cut_ends(walk, node, part, token, &mut reserve);
    reserve.give_back(walk.window, source);
    Ok(())
}

/// The first address behind a part, if a node that covers the part covers it too.
fn end_of<F: TableFormat>(node: Node<'_, F>, part: Part) -> Option<u64> {
    let mask = 1_u64.checked_shl(F::SHIFTS[node.level + 1].into()).map_or(u64::MAX, |size| size - 1);
    part.last.checked_add(1).filter(|_| part.last & mask != mask)
}

/// The leaf that a cut goes through: its level, and the level of the leaves that meet there afterwards.
#[derive(Clone, Copy)]
struct Cut {
    at: u64,
    from: usize,
    to: usize,
}

/// How many tables the cuts at both ends of a part need.
///
/// # Errors
/// The format cannot say a leaf's attributes at the level below.
pub(super) fn needed<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    part: Part,
) -> Result<u64, TableError> {
    let first = cut_at(walk, root, part.first)?;
    let Some(end) = end_of(root, part) else {
        return Ok(first.map_or(0, |cut| (cut.from - cut.to) as u64));
    };
    let last = cut_at(walk, root, end)?;
    let alone = |cut: Option<Cut>| cut.map_or(0, |cut| cut.from - cut.to);
    let mut sum = alone(first) + alone(last);
    if let (Some(first), Some(last)) = (first, last) {
        // A table that serves both cuts is made once.
        let low = first.to.max(last.to) + 1;
        let high = first.from.min(last.from);
        sum -= (low..=high).filter(|level| (first.at ^ last.at) >> F::SHIFTS[*level] == 0).count();
    }
    Ok(sum as u64)
}

fn cut_at<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    at: u64,
) -> Result<Option<Cut>, TableError> {
    let mut node = root;
    loop {
        let level = node.level;
        match walk.slot(node, F::index(at.into(), level)) {
            Slot::Table(child) => node = child,
            Slot::Leaf(leaf) if at & F::leaf_size(level).offset_mask() != 0 => {
                let mut to = level;
                while at & F::leaf_size(to).offset_mask() != 0 {
                    to -= 1;
                    F::leaf(PhysAddr::new(0), F::attributes(leaf, level), Touched::NO, to)?;
                }
                return Ok(Some(Cut { at, from: level, to }));
            }
            _ => return Ok(None),
        }
    }
}

/// Cuts at both ends of a part. Every table that is needed is in the reserve.
pub(super) fn cut_ends<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    part: Part,
    token: &mut Flush,
    reserve: &mut Reserve<F>,
) {
    cut(walk, root, part.first, token, reserve);
    if let Some(end) = end_of(root, part) {
        cut(walk, root, end, token, reserve);
    }
}

fn cut<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    at: u64,
    token: &mut Flush,
    reserve: &mut Reserve<F>,
) {
    let mut node = root;
    loop {
        let level = node.level;
        let index = F::index(at.into(), level);
        match walk.slot(node, index) {
            Slot::Table(child) => node = child,
            Slot::Leaf(leaf) => {
                if let Some(run) = F::RUNS[level] {
                    let inside = at & ((F::leaf_size(level).bytes() << run.log2) - 1) != 0;
                    if inside && F::is_contiguous(leaf, level) {
                        unfold(walk, node, index, at, token);
                    }
                }
                if at & F::leaf_size(level).offset_mask() == 0 {
                    return;
                }
                if !split(walk, node, index, at, token, reserve) {
                    return;
                }
            }
            Slot::Absent(_) | Slot::Reserved => return,
        }
    }
}

/// Replaces the leaf at `index` by a table of leaves. Whether it did.
pub(super) fn split<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    index: usize,
    at: u64,
    token: &mut Flush,
    reserve: &mut Reserve<F>,
) -> bool {
    let level = node.level;
    let (Some(below), Some(cell)) = (level.checked_sub(1), node.cells.get(index)) else { return false };
    let Some(mut spare) = reserve.pop(walk.window, below) else { return false };
    let mut leaf = cell.load(Relaxed);
    if F::BREAK_BEFORE_MAKE {
        let link = F::table(spare.address, level).unwrap_or(F::Entry::ZERO);
        if F::must_break(leaf, link, level) {
            walk.window.step(node.at(index));
            leaf = cell.swap(F::Entry::ZERO, Relaxed);
            broken(walk, at, level, 1, token);
            fill_smaller::<F>(&mut spare, leaf, level, index);
            walk.link(node, index, spare);
            return true;
        }
    }
    loop {
        fill_smaller::<F>(&mut spare, leaf, level, index);
        if cfg!(hectare_plant = "table_split_blind") {
            walk.link(node, index, spare);
            return true;
        }
        match walk.exchange(node, index, leaf, spare) {
            Ok(()) => return true,
            Err((now, back)) => (leaf, spare) = (now, back),
        }
    }
}

/// Fills a table with the leaves that a larger one consists of.
fn fill_smaller<F: TableFormat>(
    spare: &mut super::memory::Spare<'_, F>,
    leaf: F::Entry,
    level: usize,
    index: usize,
) {
    let below = level - 1;
    let address = F::leaf_address(leaf, level, index);
    let (attributes, touched) = (F::attributes(leaf, level), F::touched(leaf, level));
    // A leaf is aligned to its size, so the run does not leave the block in which strides hold. That the level below
    // can say the attributes was checked by `needed`.
    let mut entry = F::leaf(address, attributes, touched, below).unwrap_or(F::Entry::ZERO);
    for word in spare.entries.iter_mut() {
        word.write(entry);
        entry = entry.plus(F::stride(below));
    }
}

/// Takes the mark of a contiguous run from all its entries. A bit that the hardware set in one of them counts for all.
pub(super) fn unfold<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    index: usize,
    at: u64,
    token: &mut Flush,
) {
    let level = node.level;
    let Some(run) = F::RUNS[level] else { return };
    let count = (1_usize << run.log2).min(MOST);
    let first = index & !(count - 1);
    let Some(cells) = node.cells.get(first..first + count) else { return };
    let old = cells.first().map_or(F::Entry::ZERO, |cell| cell.load(Relaxed));
    let must_break = F::BREAK_BEFORE_MAKE && F::must_break(old, F::alone(old, level, first), level);
    let size = F::leaf_size(level);
    let start = at & !((size.bytes() << run.log2) - 1);
    let mut touched = Touched::NO;
    let mut leaves = [F::Entry::ZERO; MOST];
    for (nth, (cell, leaf)) in cells.iter().zip(&mut leaves).enumerate() {
        walk.window.step(node.at(first + nth));
        let alone = |leaf| F::alone(leaf, level, first + nth);
        *leaf = cell.load(Relaxed);
        if must_break {
            *leaf = cell.swap(F::Entry::ZERO, Relaxed);
        } else {
            while let Err(now) = cell.compare_exchange(*leaf, alone(*leaf), Relaxed, Relaxed) {
                *leaf = now;
            }
        }
        touched = touched.or(F::touched(*leaf, level));
        *leaf = alone(*leaf);
    }
    if must_break {
        broken(walk, start, level, count as u64, token);
    } else {
        token.add(Span::new(F::delinear(start), count as u64, size));
    }
    // No entry speaks for others any more: now what was said for all is said in each.
    for (nth, (cell, leaf)) in cells.iter().zip(leaves).enumerate() {
        walk.window.step(node.at(first + nth));
        let marked = |leaf| F::with_touched(leaf, F::touched(leaf, level).or(touched), level);
        if must_break {
            cell.store(marked(leaf), Relaxed);
            continue;
        }
        let mut current = leaf;
        while let Err(now) = cell.compare_exchange(current, marked(current), Relaxed, Relaxed) {
            current = now;
        }
    }
}

/// Tells the window that `count` leaves from `at` on are absent for a moment, and notes in the token what is owed when
/// they are back: a walker may have found them absent.
pub(super) fn broken<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    at: u64,
    level: usize,
    count: u64,
    token: &mut Flush,
) {
    unlinked(walk, at, level, count, false, token);
}

/// The same where they were reached through a table that is linked no more, if `tables` is set: caches of upper levels
/// still lead to it, and would fill others with what it says.
pub(super) fn unlinked<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    at: u64,
    level: usize,
    count: u64,
    tables: bool,
    token: &mut Flush,
) {
    let stride = F::leaf_size(level);
    let span = Span::new(F::delinear(at & !stride.offset_mask()), count, stride);
    walk.window.broken(&Invalidation {
        spans: &[span],
        everything: false,
        tables: tables && !cfg!(hectare_plant = "table_break_leaves"),
        global: F::GLOBAL,
        reload: false,
        asid: token.invalidation().asid,
    });
    token.add(span);
}
