//! What an address space looks like: `/proc/PID/maps`, and what is resident of each area.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{PageRun, Permissions};

use super::AddressSpace;
use crate::space::maps::{Label, MapsLine};
use crate::space::{Area, AreaFlags, FrameRefs, Kernel};
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
    /// Both (`Private_Dirty`).
    pub private_dirty: u64,
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
                let private = self.kernel.refs().is_sole(frame);
                usage.private += u64::from(private);
                usage.private_dirty += u64::from(private && touched.dirty);
                usage.huge += u64::from(huge);
            }
        }
        usage.swapped = self.table.states(pages).count() as u64;
        usage
    }

    /// What is resident of each area as text, in the format of `/proc/PID/smaps`: the lines of Linux for what is known here.
    /// O(pages that were used).
    pub fn smaps<'a, L: Fn(&Area) -> Label<'a>>(&'a self, label: L) -> Smaps<'a, F, K, L> {
        Smaps { space: self, label }
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

/// An address space as text, with what is resident of each area.
pub struct Smaps<'a, F: TableFormat, K: Kernel, L> {
    space: &'a AddressSpace<F, K>,
    label: L,
}

impl<F: TableFormat, K: Kernel, L> fmt::Debug for Smaps<'_, F, K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smaps").field("areas", &self.space.areas().len()).finish()
    }
}

impl<'a, F: TableFormat, K: Kernel, L: Fn(&Area) -> Label<'a>> fmt::Display for Smaps<'a, F, K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name, and a number right-aligned so that it ends in column 24 (`SEQ_PUT_DEC`, `fs/proc/task_mmu.c`).
        let kib = |pages: u64| pages.saturating_mul(F::PAGE.bytes()) >> 10;
        for area in self.space.areas() {
            let Some(line) = MapsLine::of(&area, F::PAGE, (self.label)(&area)) else { continue };
            writeln!(f, "{line}")?;
            let usage = self.space.usage(&area);
            let shared = usage.resident - usage.private;
            let shared_dirty = usage.dirty - usage.private_dirty;
            for (name, pages) in [
                ("Size", usage.size),
                ("KernelPageSize", 1),
                ("MMUPageSize", 1),
                ("Rss", usage.resident),
                ("Shared_Clean", shared - shared_dirty),
                ("Shared_Dirty", shared_dirty),
                ("Private_Clean", usage.private - usage.private_dirty),
                ("Private_Dirty", usage.private_dirty),
                ("Referenced", usage.referenced),
                ("AnonHugePages", usage.huge),
                ("Swap", usage.swapped),
            ] {
                let width = 23 - name.len();
                writeln!(f, "{name}:{:>width$} kB", kib(pages))?;
            }
            write!(f, "VmFlags:")?;
            for flag in vm_flags(&area).into_iter().flatten() {
                write!(f, " {flag}")?;
            }
            // Linux too ends this line with a space.
            writeln!(f, " ")?;
        }
        Ok(())
    }
}

/// What an area is, in Linux's abbreviations and order. Every right may be given to it later.
fn vm_flags(area: &Area) -> [Option<&'static str>; 12] {
    let (has, is) = (|right| area.permissions().contains(right), |flag| area.flags().contains(flag));
    [
        has(Permissions::READ).then_some("rd"),
        has(Permissions::WRITE).then_some("wr"),
        has(Permissions::EXECUTE).then_some("ex"),
        area.is_shared().then_some("sh"),
        Some("mr"),
        Some("mw"),
        Some("me"),
        area.is_shared().then_some("ms"),
        is(AreaFlags::GROWS_DOWN).then_some("gd"),
        is(AreaFlags::DEVICE).then_some("pf"),
        is(AreaFlags::HUGE).then_some("hg"),
        is(AreaFlags::NO_HUGE).then_some("nh"),
    ]
}
