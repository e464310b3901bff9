//! Page tables: ranges in, runs of entries out.
//!
//! ```text
//!                       PageTable<F, W, S>
//!     F: Format ────── what an entry means
//!     W: TableWindow ─ how tables are reached         S: FrameSource ─ where tables come from
//!
//!   map ───────────► Fresh ─┐
//!   unmap, protect, ► Flush ┴─ finish(token, &tlb): invalidate, then freed tables go back to S
//!   find, runs, translate ──── read only
//! ```
//! * **Ranges.** Each operation takes a run of pages, walks down once, and writes whole runs of entries: the inner loop
//!   stores a base plus a multiple of a stride. A hole costs one look at the level where it begins.
//! * **All or nothing.** What can fail comes first: conflicts, encodings, and every table that will be needed is taken
//!   from the source. A refused call leaves each byte as it was, the upper levels included.
//! * **Nothing of the hardware's is lost.** Accessed and dirty bits are read by a swap or a compare-and-swap wherever the
//!   hardware may still set one ([`Format::is_stable`]); plain stores do elsewhere, at a fraction of the cost.
//! * **No `&mut` to live tables.** Entries of linked tables are atomics; a table is filled before it is linked.

use hectare_core::{FrameSource, PhysAddr};

use crate::{Format, LiveEntry};

mod ahead;
mod asid;
mod change;
mod check;
mod clear;
mod coalesce;
#[cfg(all(target_has_atomic = "8", target_has_atomic = "32", target_has_atomic = "ptr"))]
mod concurrent;
mod copy;
mod cursor;
mod dump;
mod empty;
mod error;
mod fill;
mod flush;
mod harvest;
mod life;
mod lookup;
mod map_one;
mod memory;
mod options;
mod range;
mod recursive;
mod remap;
mod runs;
mod self_map;
mod share;
mod single;
mod split;
mod tlb;
mod window;

pub(crate) use copy::Copied;

pub use asid::{Activation, Asid, AsidAllocator, Context};
#[cfg(all(target_has_atomic = "8", target_has_atomic = "32", target_has_atomic = "ptr"))]
pub use concurrent::{Grace, Readers, SharedTable, Stripe, TableLocks, TableWords, Transaction};
pub use cursor::Cursor;
pub use error::{FaultCause, PageFault, TableError};
pub use flush::{Flush, Fresh, Invalidation, Span};
pub use lookup::Hit;
pub use options::MapOptions;
pub use recursive::{AddressedMemory, Loaded, Recursive};
pub use runs::{Mapping, Runs};
pub use self_map::SelfMap;
pub use single::States;
pub use tlb::{NotLoaded, Tlb};
pub use window::{Live, TableWindow, identity};

/// A format whose entries this machine can change atomically: all of them, on all machines that have such tables.
pub trait TableFormat: Format<Entry: LiveEntry> {}

impl<F: Format<Entry: LiveEntry>> TableFormat for F {}

/// A tree of page tables of format `F`, reached through `W`, made of frames of `S`.
///
/// It is a data structure until a CPU is pointed to its [`root`](Self::root). Whoever does that promises (it takes unsafe
/// code anyway) that from then on every token is finished with a [`Tlb`] that reaches this CPU, that the memory mapped
/// is meant to be reached so, and that the root is no CPU's any more before [`destroy`](Self::destroy). Dropping a table
/// leaks its frames, since a CPU might use them.
///
/// ```
/// use hectare_core::{Frame, FrameRun, Page, PageRun, Permissions, VirtAddr};
/// use hectare_paging::format::X86_64;
/// use hectare_paging::{Attributes, MapOptions, PageTable};
/// # let frames = hectare_testkit::stand_in::PlainFrames::<12>::new(0x100, 8);
/// # let window = frames.window();
/// # // SAFETY: no CPU uses the table.
/// # let tlb = unsafe { hectare_paging::table::NotLoaded::new() };
///
/// // Tables are made of `frames` and reached through `window`; `tlb` makes the CPUs forget.
/// let mut table = PageTable::<X86_64<4>, _, _>::new(window, frames)?;
/// let data = Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER);
/// let memory = FrameRun::new(Frame::new(0x8_0000), 1024).unwrap();
/// table.map(Page::new(0x400), memory, data, MapOptions::DEFAULT)?.finish(&tlb);
/// assert_eq!(table.tables(), 3); // two leaves of 2 MiB need no table of their own
///
/// // One page may not be written to any more. Its huge page is split, and no other page loses a right.
/// let page = PageRun::new(Page::new(0x401), 1).unwrap();
/// let token = table.protect(page, Permissions::READ | Permissions::USER)?;
/// table.finish(token, &tlb).unwrap();
/// let hit = table.find(VirtAddr::new(0x40_1234)).unwrap();
/// assert_eq!(hit.address.value(), 0x8000_1234);
/// assert!(!hit.attributes().permissions.contains(Permissions::WRITE));
///
/// // What goes is reported in runs. The table that is empty now goes back when the token is paid.
/// let mut frames = 0;
/// let token = table.unmap(PageRun::new(Page::new(0x400), 1024).unwrap(), |run| frames += run.frames().count())?;
/// table.finish(token, &tlb).unwrap();
/// assert_eq!((frames, table.tables()), (1024, 1));
/// # table.destroy(&tlb);
/// # Ok::<(), hectare_paging::TableError>(())
/// ```
///
/// # Invariants
/// * the root, and every table that an entry links outside the shared half, was taken from `source`, is linked once, and
///   in no token
/// * every linked table has an entry that is not zero, except the root and tables of the half that is shared
/// * an entry of level ℓ links a table of level ℓ − 1, or is a leaf that the format allows at ℓ, or absent
/// * `unsettled` is at least the number of tokens not yet finished that took write rights from entries which were not dirty
#[derive(Debug)]
pub struct PageTable<F: TableFormat, W, S> {
    root: PhysAddr,
    window: W,
    source: S,
    asid: Option<Asid>,
    unsettled: u32,
    /// Moves of tables whose tokens are not finished: caches may lead to these tables from where they were.
    moved: u32,
    /// Places of the root whose tables never return to the source, and whose leaves never change, since other roots have
    /// them too.
    pinned: Half,
    /// Places of the root whose tables belong to another page table.
    foreign: Half,
    format: core::marker::PhantomData<F>,
}

/// Places `[first, end)` of a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Half {
    first: usize,
    end: usize,
}

impl Half {
    const NONE: Self = Self { first: 0, end: 0 };

    /// Both together, if that is one stretch.
    fn with(self, other: Self) -> Option<Self> {
        if self == Self::NONE {
            return Some(other);
        }
        let meet = self.first <= other.end && other.first <= self.end;
        meet.then(|| Self { first: self.first.min(other.first), end: self.end.max(other.end) })
    }

    fn holds(self, index: usize) -> bool {
        index.wrapping_sub(self.first) < self.end - self.first
    }
}

impl<F: TableFormat, W, S: FrameSource> PageTable<F, W, S> {
    /// The physical address of the root table: what CR3, satp, TTBR0 or an EPT pointer is made of.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> &W {
        &self.window
    }

    /// Where tables come from.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Where tables come from, for other uses: what is taken from it is the caller's.
    #[must_use]
    pub const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// The identifier under which translations are cached, if there is one.
    #[must_use]
    pub const fn asid(&self) -> Option<Asid> {
        self.asid
    }

    /// Tokens name this identifier from now on.
    pub const fn set_asid(&mut self, asid: Option<Asid>) {
        self.asid = asid;
    }
}
