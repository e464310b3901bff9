//! The kinds of traces.
#![forbid(unsafe_code)]

use core::fmt;

/// What a trace records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program's calls of `malloc` and its relatives.
    Heap,
    /// The kernel's page frames.
    Frames,
    /// The kernel's objects.
    Objects,
    /// A process's address space.
    Vm,
    /// Sizes and mappings, as ranges of numbers without memory behind them.
    Ranges,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Heap, Self::Frames, Self::Objects, Self::Vm, Self::Ranges];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Frames => "frames",
            Self::Objects => "objects",
            Self::Vm => "vm",
            Self::Ranges => "ranges",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
