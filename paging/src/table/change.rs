//! Changing leaves where they stand: rights and attributes.
#![forbid(unsafe_code)]

use hectare_core::{FrameSource, PageRun, Permissions};

use super::flush::Flush;
use super::memory::{Node, Walk};
use super::range::Part;
use super::runs::Runs;
use super::{PageTable, TableError, TableFormat, TableWindow};
use crate::Attributes;

mod edit;

pub(super) use edit::Edits;

impl<F: TableFormat, W: TableWindow, S: FrameSource> PageTable<F, W, S> {
    /// Gives every page that is mapped in the range these rights, and keeps everything else: frames, memory types, software
    /// bits, accessed and dirty bits. Holes stay holes. Huge leaves across the ends are split.
    ///
    /// Cost: a load and a store a leaf (a compare-and-swap where the hardware may still set a bit).
    ///
    /// # Errors
    /// If and only if the pages are not in the format's reach or are in another table's half, the format cannot say the
    /// rights, or a split needs a table that cannot be had. Nothing is changed then.
    pub fn protect(&mut self, pages: PageRun, permissions: Permissions) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        F::edit(Attributes::new(permissions), 0)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        Ok(self.change(part, token, |attributes| attributes.with_permissions(permissions)))
    }

    /// Gives every page that is mapped in the range the attributes that `change` makes of its old ones. `change` is asked
    /// once for each run of equal attributes, first for all, then again while they are written; its answers must be the
    /// same.
    ///
    /// # Errors
    /// As [`protect`](Self::protect), with all attributes that `change` names.
    pub fn update(
        &mut self,
        pages: PageRun,
        mut change: impl FnMut(Attributes) -> Attributes,
    ) -> Result<Flush, TableError> {
        let part = self.part(pages)?;
        sayable(self.runs(pages)?, &mut change)?;
        let mut token = self.token();
        self.cut(part, &mut token)?;
        Ok(self.change(part, token, change))
    }

    fn change(
        &mut self,
        part: Part,
        mut token: Flush,
        change: impl FnMut(Attributes) -> Attributes,
    ) -> Flush {
        let walk = Walk::new(&self.window);
        let Some(root) = self.root_node(walk) else { return token };
        if change_below(walk, root, part, self.is_settled(), &mut token, change) {
            token.unsettled = 1;
            self.unsettled = self.unsettled.saturating_add(1);
        }
        token
    }
}

/// Whether the format can say what `change` makes of each run, whatever its leaves are cut to.
pub(super) fn sayable<F: TableFormat, W: TableWindow>(
    runs: Runs<'_, F, W>,
    change: &mut impl FnMut(Attributes) -> Attributes,
) -> Result<(), TableError> {
    for run in runs {
        for level in (0..F::LEVELS).filter(|level| F::has_leaves(*level)) {
            F::edit(change(run.attributes()), level)?;
        }
    }
    Ok(())
}

/// Changes the leaves of a part below a node that covers it, and that no leaf crosses. Whether it took write rights of
/// leaves that the hardware marks as dirty.
#[inline]
pub(super) fn change_below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    part: Part,
    settled: bool,
    token: &mut Flush,
    change: impl FnMut(Attributes) -> Attributes,
) -> bool {
    let mut edits = Edits { walk, change, current: None, settled, unsettles: false, token };
    edits.walk(node, part);
    edits.unsettles
}
