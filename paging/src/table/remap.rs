//! Moving what a range maps to other pages: frames, rights, accessed and dirty bits, software state.
//!
//! ```text
//!   both ends aligned alike          │ page tables │             not aligned alike
//!   old  ─ link ─┐   ┌─ 0            one store moves all that     old │ A │ B │ C │ ─► 0 0 0
//!                └───┼──► new        hangs below a link           new   │ ─ │ A │ B │ C │       leaf by leaf
//! ```
//! An entry is taken out of its old place (by a swap wherever the hardware may still set a bit) before it stands in the
//! new one, so no bit is lost and no table is linked twice. A table that moved may still be reached from its old
//! addresses through caches of upper levels until the token is finished, or another one that owns tables: such a token
//! empties these caches ([`Tlb`](super::Tlb)), so the table is never freed under one.
#![forbid(unsafe_code)]

use hectare_core::{FrameSource, Page, PageRun};

use super::fill::plan;
use super::flush::{Flush, Span};
use super::memory::{Node, Reserve, Walk};
use super::range::Part;
use super::{PageTable, TableError, TableFormat, TableWindow, clear, split};
use crate::format;

mod moving;
mod needed;
mod place;

use moving::Moving;
use needed::needed;

pub(super) use place::Shift;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Moves whatever the pages map, and the software state of those that are absent, to as many pages from `to` on, all
    /// of which must be empty. Holes stay holes. Where both sides are aligned alike whole tables and huge leaves move by
    /// one store; elsewhere huge leaves become smaller ones.
    ///
    /// A page is absent at both places for a moment. The token owes the old pages' invalidation (and what fresh mappings
    /// of the format owe). Cost: O(entries) of the tables at the ends, one store for each table between them; a load and
    /// two stores a leaf (a swap where the hardware may still set a bit) if the sides are not aligned alike.
    ///
    /// # Errors
    /// If and only if either range is not in the format's reach, is in another table's half or in one that this table
    /// pinned, the ranges overlap, a place is taken, the format cannot say a huge leaf's attributes in smaller ones, or a
    /// table is needed and cannot be had. Nothing is changed then.
    pub fn remap(&mut self, pages: PageRun, to: Page) -> Result<Flush, TableError> {
        let range = TableError::Range { pages };
        let target = PageRun::new(to, pages.count()).ok_or(range)?;
        let (from, into) = (self.part(pages)?, self.part(target)?);
        if pages.overlaps(target) {
            return Err(range);
        }
        for part in [from, into] {
            let (first, last) = part.indices::<F>(F::LEVELS - 1);
            if (first..=last).any(|index| self.pinned.holds(index)) {
                return Err(TableError::Shared { address: F::delinear(part.first) });
            }
        }
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else {
            return Err(TableError::Unreachable { table: self.root });
        };
        let (mut token, settled) = (self.token(), self.is_settled());
        let shift = Shift::new::<F>(from, into, true);
        move_below(walk, root, from, shift, settled, &mut token, &mut self.source)?;
        self.moved = self.moved.saturating_add(token.moved);
        Ok(token)
    }
}

/// Moves a part below a node that covers its old and its new place.
pub(super) fn move_below<F: TableFormat, W: TableWindow, S: FrameSource>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    from: Part,
    shift: Shift,
    settled: bool,
    token: &mut Flush,
    source: &mut S,
) -> Result<(), TableError> {
    let into = shift.moved(from);
    plan(walk, root, into, 0)?;
    let needed = split::needed(walk, root, from)? + needed(walk, root, from, shift)?;
    let mut reserve = Reserve::take(needed, walk.window, source)?;
    split::cut_ends(walk, root, from, token, &mut reserve);
    Moving { walk, root, shift, settled, token: &mut *token, reserve: &mut reserve }.all(from);
    clear::sweep(walk, root, from, token);
    if token.is_needed() && matches!(F::FRESH, format::Fresh::Fence) {
        token.add(Span::new(F::delinear(into.first), into.pages::<F>(), F::PAGE));
    }
    reserve.give_back(walk.window, source);
    Ok(())
}
