//! One program's memory: areas on top, page tables below, and what connects them: faults.
//!
//! ```text
//!    map, unmap, protect, …             handle_fault(address, access)
//!          │                                  │
//!          ▼                                  ▼ area?  rights?  entry?
//!    [ index of areas ] ─────────────► what should be there ──► zeros, a pager's page, a copy
//!          │ only what was touched                                   │
//!          ▼                                                         ▼
//!    [ page table ] ◄────────────────────────────────────── one run of entries
//! ```
//! Nothing is written to the tables for pages that nobody used: a mapping of 1 TiB costs what one of 4 KiB does.
//!
//! **Who flushes.** The address space does, by the kernel's [`Tlb`](crate::table::Tlb), before it gives up a frame. Nobody
//! else can: a frame that is still in a translation cache must not return to its source.
//!
//! **Who zeroes and copies.** The address space does, through the kernel's window.
//!
//! **Several CPUs.** An address space has one owner: put it behind a lock, one for each space. Two CPUs that fault on one
//! page then come one after the other, and the second finds the page there ([`Handled::Spurious`](super::Handled)).
//! Frames that several address spaces share since a fork need no common lock: the counts of [`FrameRefs`] decide who
//! copies.
#![forbid(unsafe_code)]

mod advise;
mod change;
mod fault;
mod fork;
mod grow;
mod map;
mod promote;
mod reclaim;
mod remap;
mod report;
mod resolve;
mod zap;

use hectare_core::{CheckInvariants, Frame, FrameSource, Page, PageRun, Permissions, Violation, VirtAddr};

pub use self::advise::Advice;
pub use self::map::{MapRequest, Place};
pub use self::promote::{Promoted, Scan};
pub use self::reclaim::Visit;
pub use self::remap::Move;
pub use self::report::{AreaUsage, Maps, Smaps};
use super::index::{AreaIndex, Direction};
use super::{Area, AreaFlags, Backing, FrameRefs, Kernel, SpaceError};
use crate::table::{PageTable, TableFormat, TableWindow};
use crate::{Attributes, MemoryType};

/// When 2 MiB (or whatever the format's level 1 covers) come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HugePages {
    /// Never.
    Never,
    /// Where the program asked for it.
    Advised,
    /// Wherever it did not ask for the contrary.
    Always,
}

/// What can be chosen for an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The pages that programs may use.
    pub window: PageRun,
    /// From which end places are chosen.
    pub direction: Direction,
    /// A read fault on a page of an object maps what is resident of the aligned group of so many pages around it, a power
    /// of two up to 64; 1 maps the page alone. Linux: 16 (`fault_around_pages`, `mm/memory.c`).
    pub fault_around: u64,
    /// When huge pages are used.
    pub huge: HugePages,
    /// How many pages a stack may have. Linux: 8 MiB.
    pub stack_limit: u64,
    /// How many pages below a stack stay free. Linux: 256 (`stack_guard_gap`, `mm/mmap.c`).
    pub stack_guard: u64,
    /// A frame of zeros that every read of untouched memory gets, until the first write. It is never given back.
    pub zero_frame: Option<Frame>,
}

impl Settings {
    /// Linux's numbers for these pages, without a zero frame; no huge pages unless advised.
    #[must_use]
    pub const fn new(window: PageRun) -> Self {
        Self {
            window,
            direction: Direction::TopDown,
            fault_around: 16,
            huge: HugePages::Advised,
            stack_limit: 2048,
            stack_guard: 256,
            zero_frame: None,
        }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Faults that were dealt with, the spurious ones too.
    pub faults: u64,
    /// Pages copied, because they were shared or an object's.
    pub copied: u64,
    /// Pages taken over by the last of those who shared them.
    pub reused: u64,
    /// Pages mapped beside the one that faulted.
    pub around: u64,
    /// Huge pages mapped at once.
    pub huge: u64,
    /// Huge pages made of small ones.
    pub promoted: u64,
    /// Pages swapped in.
    pub swapped_in: u64,
    /// Pages swapped out.
    pub swapped_out: u64,
}

/// An address space. See the [module](crate::space).
///
/// ```
/// use core::num::NonZero;
///
/// use hectare_core::{Access, Frame, Locked, Page, PageRun, Permissions, SpinLock};
/// use hectare_paging::format::Sv39;
/// use hectare_paging::space::index::Node;
/// use hectare_paging::space::{AddressSpace, Kernel, MapRequest, NoPager, RefTable, Settings};
/// use hectare_paging::table::NotLoaded;
/// # use core::sync::atomic::AtomicU32;
/// # use hectare_testkit::stand_in::{ArenaWindow as Window, PlainFrames as Frames};
///
/// // What the kernel has; here the frames 0x100 to 0x13f, and no CPU that uses the tables.
/// struct Machine<'m> {
///     frames: Locked<SpinLock, Frames<12>>,
///     window: Window,
///     refs: RefTable<'m>,
///     tlb: NotLoaded,
/// }
///
/// #[derive(Clone, Copy)]
/// struct Handle<'m>(&'m Machine<'m>);
///
/// impl<'m> Kernel for Handle<'m> {
///     type Frames = &'m Locked<SpinLock, Frames<12>>;
///     type Window = Window;
///     type Nodes = [Node; 8];
///     type Refs = RefTable<'m>;
///     type Pager = NoPager;
///     type Tlb = NotLoaded;
///
///     fn frames(&self) -> Self::Frames { &self.0.frames }
///     fn window(&self) -> Window { self.0.window.clone() }
///     fn nodes(&self) -> [Node; 8] { [Node::EMPTY; 8] }
///     fn refs(&self) -> &RefTable<'m> { &self.0.refs }
///     fn pager(&self) -> &NoPager { &NoPager }
///     fn tlb(&self) -> &NotLoaded { &self.0.tlb }
/// }
/// # let frames = Frames::<12>::new(0x100, 64);
/// # let window = frames.window();
/// # let counts = [const { AtomicU32::new(0) }; 64];
/// # let refs = RefTable::new(Frame::new(0x100), &counts);
/// # // SAFETY: no CPU uses the tables.
/// # let tlb = unsafe { NotLoaded::new() };
/// # let machine = Machine { frames: Locked::new(frames), window, refs, tlb };
///
/// let window = PageRun::new(Page::new(0x10), 0x10_0000).unwrap();
/// let mut parent = AddressSpace::<Sv39, _>::new(Handle(&machine), Settings::new(window))?;
/// let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
/// let gibibyte = MapRequest::anonymous(NonZero::new(1 << 18).unwrap(), rights);
/// let first = parent.map(gibibyte)?;
/// assert_eq!(parent.resident(), 0);
///
/// // A program writes there, and the CPU faults: the page comes, and the program tries again.
/// let address = first.start(hectare_core::PageSize::SIZE_4K).unwrap();
/// parent.handle_fault(address, Access::user_write())?;
/// assert_eq!(parent.resident(), 1);
///
/// // A fork shares the frame until one of both writes.
/// let mut child = parent.fork()?;
/// let frame = |space: &AddressSpace<Sv39, _>| space.table().find(address).unwrap().address;
/// assert_eq!(frame(&child), frame(&parent));
/// child.handle_fault(address, Access::user_write())?;
/// assert_ne!(frame(&child), frame(&parent));
///
/// child.destroy();
/// parent.destroy();
/// # machine.frames.with(|frames| assert_eq!(frames.free(), 64)).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Invariants
/// * a page is mapped, or swapped out, only inside an area, and one with [`AreaFlags::TOUCHED`]
/// * a mapped page outside a device's area is one counted use of its frame, except the zero frame
/// * a page may be written to by the tables only if its area permits it, and if the area is shared or nobody else uses
///   the frame
/// * `resident` is the number of pages that are mapped
#[derive(Debug)]
pub struct AddressSpace<F: TableFormat, K: Kernel> {
    kernel: K,
    table: PageTable<F, K::Window, K::Frames>,
    areas: AreaIndex<K::Nodes>,
    settings: Settings,
    /// Where `brk` began and where it is, in bytes.
    heap: (VirtAddr, VirtAddr),
    resident: u64,
    counts: Counts,
}

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    const FRAME: () = assert!(
        <K::Frames as FrameSource>::FRAME_SIZE.log2() == F::PAGE.log2(),
        "a frame is as large as a page"
    );

    /// An empty address space: one table.
    ///
    /// # Errors
    /// There is no frame for the table, or the settings' window is not in the format's reach.
    pub fn new(kernel: K, settings: Settings) -> Result<Self, SpaceError> {
        () = Self::FRAME;
        let (first, end) = (settings.window.first(), settings.window.end());
        let first = first.start(F::PAGE).ok_or(SpaceError::Range)?;
        let last = end.checked_sub(1).and_then(|last| last.start(F::PAGE)).ok_or(SpaceError::Range)?;
        if !F::accepts_range(first, last) {
            return Err(SpaceError::Range);
        }
        let table = PageTable::new(kernel.window(), kernel.frames())?;
        let areas = AreaIndex::new(kernel.nodes());
        let heap = (VirtAddr::new(0), VirtAddr::new(0));
        Ok(Self { kernel, table, areas, settings, heap, resident: 0, counts: Counts::default() })
    }

    /// Gives everything back: pages, swap slots, tables. No CPU may use the tables any more.
    pub fn destroy(mut self) {
        self.clear();
        let Self { table, kernel, .. } = self;
        drop(table.destroy(kernel.tlb()));
    }

    /// Unmaps everything, as an exec does.
    pub fn clear(&mut self) {
        while let Some(area) = self.areas.at_or_after(Page::new(0)) {
            // A whole area has no huge page across its ends that would have to be split.
            let _ = self.zap(&area);
            self.areas.remove(area.first());
        }
        self.heap = (VirtAddr::new(0), VirtAddr::new(0));
    }

    /// The kernel.
    pub const fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The page table: its root is what a CPU is given. Change it through the address space alone.
    pub const fn table(&self) -> &PageTable<F, K::Window, K::Frames> {
        &self.table
    }

    /// The areas.
    pub const fn areas(&self) -> &AreaIndex<K::Nodes> {
        &self.areas
    }

    /// What was chosen.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Links the half that a kernel's table [pinned](PageTable::pin): every CPU that uses this address space finds the kernel
    /// there, also where it is leaves of the root, a direct map by 1 GiB pages. A fork has it too. What is mapped there is
    /// the kernel's, and no part of this address space: its areas must lie elsewhere.
    ///
    /// # Errors
    /// Something is mapped there already, or a half is linked. Nothing is changed.
    pub fn share_kernel<V: TableWindow, S: FrameSource>(
        &mut self,
        kernel: &PageTable<F, V, S>,
    ) -> Result<(), SpaceError> {
        Ok(self.table.share(kernel)?)
    }

    /// Chooses anew. What is mapped already stays as it is; the window and the zero frame are not changed.
    pub fn set(&mut self, settings: Settings) {
        let (window, zero_frame) = (self.settings.window, self.settings.zero_frame);
        self.settings = Settings { window, zero_frame, ..settings };
    }

    /// How many pages are mapped.
    #[must_use]
    pub const fn resident(&self) -> u64 {
        self.resident
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The pages as a run inside the window.
    fn range(&self, first: Page, count: u64) -> Result<PageRun, SpaceError> {
        let pages = PageRun::new(first, count).ok_or(SpaceError::Range)?;
        if self.settings.window.contains(pages) { Ok(pages) } else { Err(SpaceError::Range) }
    }

    /// What the tables say for a page of an area: the rights it permits, as near as the format can say, without writing
    /// if that needs a fault first. Where nothing is permitted, the page is the kernel's alone.
    fn attributes(area: &Area, writable: bool) -> Attributes {
        // What the format grants besides stays granted without the right to write: reading, where it cannot be forbidden.
        let mut permissions = F::nearest(Attributes::new(area.permissions())).permissions;
        if !writable {
            permissions -= Permissions::WRITE;
        }
        if area.permissions() - Permissions::USER == Permissions::empty() {
            permissions = Permissions::READ;
        }
        let device = area.flags().contains(AreaFlags::DEVICE);
        let memory = if device { MemoryType::Device } else { MemoryType::WriteBack };
        F::nearest(Attributes::new(permissions).with_memory(memory))
    }
}

impl<F: TableFormat, K: Kernel> CheckInvariants for AddressSpace<F, K> {
    /// Those of the index, of the tables, and how the two agree. A violation's place is the number of a page.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.areas.check_invariants()?;
        self.table.check_invariants()?;
        let mut resident = 0;
        // What lies outside is the kernel's.
        let Ok(runs) = self.table.runs(self.settings.window) else { return Ok(()) };
        for run in runs {
            let (pages, writable) = (run.pages(), run.attributes().permissions.contains(Permissions::WRITE));
            resident += pages.count();
            let frames = run.frames().iter();
            for (page, frame) in pages.iter().zip(frames) {
                let holds = |holds, rule| Violation::unless(holds, rule, page.number());
                let Some(area) = self.areas.find(page) else {
                    return holds(false, "a page is mapped only inside an area");
                };
                holds(area.flags().contains(AreaFlags::TOUCHED), "an area with a page is marked")?;
                let may = area.permissions().contains(Permissions::WRITE);
                holds(!writable || may, "a page may be written to only if its area permits it")?;
                let own = area.is_shared() || matches!(area.backing(), Backing::Device { .. });
                let sole = || self.kernel.refs().is_sole(frame) && Some(frame) != self.settings.zero_frame;
                holds(!writable || own || sole(), "a page that others use cannot be written to")?;
            }
        }
        Violation::unless(resident == self.resident, "the count of pages is that of the tables", resident)
    }
}
