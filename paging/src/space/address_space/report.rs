//! What an address space looks like: `/proc/PID/maps`, and what is resident of each area.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{PageRun, Permissions};

use super::AddressSpace;
use crate::space::maps::{Label, MapsLine};
use crate::space::{Area, FrameRefs, Kernel};
use crate::table::TableFormat;

/// How much of an area is there, in pages: what `/proc/PID/smaps` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AreaUsage {
    /// All pages (`Size`).
    pub size: u64,
    /// Mapped (`Rss`).
    pub resident: u64,
    /// Mapped, and written to since they were mapped (`*_Dirty`).
    pub dirty: u64,
    /// Mapped, and used since the last harvest (`Referenced`).
    pub referenced: u64,
    /// Mapped, and used by nobody else (`Private_*`).
    pub private: u64,
    /// Mapped by huge pages (`AnonHugePages`).
    pub huge: u64,
    /// Swapped out (`Swap`).
    pub swapped: u64,
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// How much of an area, or of a part of one, is there. O(pages that were used).
    #[must_use]
    pub fn usage(&self, area: &Area) -> AreaUsage {
        let mut usage = AreaUsage { size: area.count(), ..AreaUsage::default() };
        let Some(pages) = PageRun::new(area.first(), area.count()) else { return usage };
        let Ok(runs) = self.table.runs(pages) else { return usage };
        for run in runs {
            let within = |page| pages.first() <= page && page < pages.end();
            let frames = run.pages().iter().zip(run.frames().iter()).filter(|(page, _)| within(*page));
            let touched = run.touched();
            let huge = run.leaf_size() != F::PAGE;
            for (_, frame) in frames {
                usage.resident += 1;
                usage.dirty += u64::from(touched.dirty);
                usage.referenced += u64::from(touched.accessed);
                usage.private += u64::from(self.kernel.refs().is_sole(frame));
                usage.huge += u64::from(huge);
            }
        }
        usage.swapped = self.table.states(pages).count() as u64;
        usage
    }

    /// The areas as text, in the format of `/proc/PID/maps`. `label` says what is mapped in an area; areas that may not be
    /// a program's are not asked about.
    pub fn maps<'a, L: Fn(&Area) -> Label<'a>>(&'a self, label: L) -> Maps<'a, F, K, L> {
        Maps { space: self, label }
    }
}

/// An address space as text, one line for each area.
pub struct Maps<'a, F: TableFormat, K: Kernel, L> {
    space: &'a AddressSpace<F, K>,
    label: L,
}

impl<F: TableFormat, K: Kernel, L> fmt::Debug for Maps<'_, F, K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").field("areas", &self.space.areas().len()).finish()
    }
}

impl<'a, F: TableFormat, K: Kernel, L: Fn(&Area) -> Label<'a>> fmt::Display for Maps<'a, F, K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for area in self.space.areas() {
            debug_assert!(area.permissions().contains(Permissions::USER));
            if let Some(line) = MapsLine::of(&area, F::PAGE, (self.label)(&area)) {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}
