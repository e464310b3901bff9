//! The recursive window: memory for tables without a direct map, in a kernel whose root links itself.
//!
//! ```text
//!   frames for tables   │ f0 │ f1 │ f2 │ …                   known by their physical addresses
//!   pages               │ p0 │ p1 │ p2 │ …                   so many pages, whose tables of level 0 are there
//!   f2 is asked for ──► the entry of p2, found by [`SelfMap`], is absent: it becomes a leaf on f2
//! ```
//! A page is mapped when its frame is first asked for, and stays so: equal addresses give equal pointers. An absent entry
//! is in no cache of the formats with a self-map, so nothing has to be invalidated.
#![expect(unsafe_code, reason = "reads and writes live entries at computed addresses")]

use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire};

use hectare_core::{PageRun, PhysAddr, PhysWindow, VirtAddr};

use super::memory::Cell;
use super::{SelfMap, TableFormat};
use crate::{AtomicEntry, Entry, Kind, Touched};

/// How code reaches what the loaded root maps.
///
/// # Safety
/// The pointer to a mapped address is valid for reads and writes of the rest of its page, as far as the page's rights go,
/// and equal addresses give equal pointers.
pub unsafe trait AddressedMemory {
    /// The pointer to the byte at a mapped address; `None` if code cannot have such a pointer.
    fn pointer(&self, address: VirtAddr) -> Option<NonNull<u8>>;
}

/// The address space that this code runs in: an address is a pointer.
#[derive(Clone, Copy, Debug)]
pub struct Loaded(());

impl Loaded {
    /// # Safety
    /// What is reached through it belongs to no Rust object, or its provenance was exposed.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: an address that the loaded root maps is a pointer to what it maps (promise of `new`: nobody else's object).
unsafe impl AddressedMemory for Loaded {
    fn pointer(&self, address: VirtAddr) -> Option<NonNull<u8>> {
        NonNull::new(with_exposed_provenance_mut(usize::try_from(address.value()).ok()?))
    }
}

/// Tables of the loaded root, seen through its own slot; and frames, mapped one by one where they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Recursive<F, V> {
    map: SelfMap<F>,
    memory: V,
    /// The physical address of the first page's frame.
    first: PhysAddr,
    pages: PageRun,
}

impl<F: TableFormat, V: AddressedMemory> Recursive<F, V> {
    /// Shows the frames from `first` on at `pages`, as many as these are. `None` if `first` is not a frame's address, or
    /// the pages are not in the format's reach or are those of the self-map.
    ///
    /// # Safety
    /// As long as the window, or a copy of it, is used: (1) whichever root is loaded, its slot of `map` links itself;
    /// (2) all such roots share the tables of level 0 of `pages`; (3) their entries are absent, and nobody but this window
    /// changes them; (4) the frames are real memory, which no Rust object lies in.
    #[must_use]
    pub unsafe fn new(map: SelfMap<F>, memory: V, first: PhysAddr, pages: PageRun) -> Option<Self> {
        let fits = super::range::Part::of::<F>(pages).is_ok() && !map.pages().overlaps(pages);
        let memory_fits = first.value() & F::PAGE.offset_mask() == 0
            && pages
                .count()
                .checked_mul(F::PAGE.bytes())
                .and_then(|bytes| first.checked_add(bytes))
                .is_some();
        (fits && memory_fits).then_some(Self { map, memory, first, pages })
    }

    /// The entry that translates an address, and its level, in the root that is loaded.
    #[must_use]
    pub fn find(&self, address: VirtAddr) -> Option<(F::Entry, usize)> {
        if !F::accepts(address) {
            return None;
        }
        let mut level = F::LEVELS - 1;
        loop {
            // SAFETY: the entries above were links: the table that holds this one is seen.
            let cell = unsafe { self.cell(address, level)? };
            let entry = cell.load(Acquire);
            if F::kind(entry, level) != Kind::Table || level == 0 {
                return Some((entry, level));
            }
            level -= 1;
        }
    }

    /// # Safety
    /// The entries of all levels above that translate the address are links.
    unsafe fn cell(&self, address: VirtAddr, level: usize) -> Option<&Cell<F>> {
        let place = self.memory.pointer(self.map.entry(address, level))?.cast::<Cell<F>>();
        // SAFETY: (1) the self-map shows the entry there, since the links above it exist (caller, first promise of `new`);
        // (2) it is aligned as entries of a table are; (3) live entries are accessed through atomics only.
        Some(unsafe { place.as_ref() })
    }

    /// Maps the page of a frame, if that is not so yet.
    fn show(&self, address: VirtAddr, frame: PhysAddr) -> Option<()> {
        let attributes = SelfMap::<F>::attributes();
        let leaf = F::leaf(frame, attributes, Touched::DIRTY, 0).ok()?;
        let (entry, level) = self.find(address)?;
        if level != 0 {
            return None;
        }
        if entry == F::Entry::ZERO {
            // SAFETY: the entries above are links, as `find` has seen; that tables of these pages go is excluded (second
            // promise of `new`).
            let cell = unsafe { self.cell(address, 0)? };
            // Another CPU may be as far as we are: then it wrote the same.
            let _ = cell.compare_exchange(F::Entry::ZERO, leaf, AcqRel, Acquire);
            return self.show(address, frame);
        }
        let same = F::kind(entry, 0) == Kind::Leaf && F::leaf_address(entry, 0, 0) == frame;
        same.then_some(())
    }
}

// SAFETY: (1) each page is mapped to its frame before a pointer into it is handed out, and stays so (third promise of
// `new`), so that the bytes are those physical ones; consecutive frames are at consecutive pages; (2) the pointer is a
// function of the address.
unsafe impl<F: TableFormat, V: AddressedMemory> PhysWindow for Recursive<F, V> {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        let offset = address.checked_offset_from(self.first)?;
        let bytes = self.pages.count() << F::PAGE.log2();
        if length == 0 || offset > bytes.checked_sub(length)? {
            return None;
        }
        let start = self.pages.first().start(F::PAGE)?;
        let mut page = offset & !F::PAGE.offset_mask();
        while page < offset + length {
            self.show(start.checked_add(page)?, self.first.checked_add(page)?)?;
            page += F::PAGE.bytes();
        }
        self.memory.pointer(start.checked_add(offset)?)
    }
}
