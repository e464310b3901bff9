//! A table as text: one line for each run.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::FrameSource;

use super::{Mapping, PageTable, TableFormat, TableWindow};
use crate::MemoryType;

impl<F: TableFormat> fmt::Display for Mapping<F> {
    /// Addresses, frames, rights, leaves, memory type and bits:
    /// `00400000-00600000 00200000 rw-u 1x2M ad`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.address().value();
        let end = first.wrapping_add(self.leaves() << self.leaf_size().log2());
        let memory = self.frames().first().start(F::PAGE).map_or(0, |address| address.value());
        let attributes = self.attributes();
        write!(f, "{first:08x}-{end:08x} {memory:08x} {:?}", attributes.permissions)?;
        let (size, unit) = match self.leaf_size().log2() {
            log2 @ 0..=9 => (1_u64 << log2, "B"),
            log2 @ 10..=19 => (1 << (log2 - 10), "K"),
            log2 @ 20..=29 => (1 << (log2 - 20), "M"),
            log2 => (1 << (log2 - 30), "G"),
        };
        write!(f, " {}x{size}{unit}", self.leaves())?;
        if attributes.memory != MemoryType::WriteBack {
            write!(f, " {:?}", attributes.memory)?;
        }
        if attributes.global {
            f.write_str(" global")?;
        }
        let touched = self.touched();
        if touched.accessed || touched.dirty {
            write!(
                f,
                " {}{}",
                if touched.accessed { "a" } else { "" },
                if touched.dirty { "d" } else { "" }
            )?;
        }
        Ok(())
    }
}

impl<F: TableFormat, W: TableWindow, S: FrameSource> fmt::Display for PageTable<F, W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}, {} tables", F::NAME, self.root(), self.tables())?;
        self.all_runs().try_for_each(|run| writeln!(f, "{run}"))
    }
}
