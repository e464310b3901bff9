//! The one place that touches tables: nodes of the live tree, and spare tables that nobody sees yet.
//!
//! ```text
//!   Reserve ──pop──► Spare (exclusively ours, plain writes) ──Node::link──► Node (live: atomic accesses only)
//!      ▲                                                                      │
//!      └─────────── the frame source ◄── PageTable::finish ◄── Freed ◄────────┘ Node::detach
//! ```
//! A list of tables runs through their first entries. Its links are absent entries with the table's frame number as their
//! software state, so that a processor that still walks a freed table finds nothing there.
#![expect(unsafe_code, reason = "makes slices of tables, and gives their frames back")]

use core::marker::PhantomData;
use core::ops::Range;
use core::slice;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use hectare_core::{Frame, FrameRequest, FrameRun, FrameSource, Order, PhysAddr};

use super::flush::Freed;
use super::window::TableWindow;
use super::{TableError, TableFormat};
use crate::{AtomicEntry, Entry, Kind, LiveEntry};

pub(super) type Cell<F> = <<F as crate::Format>::Entry as LiveEntry>::Atomic;

/// A live table for as long as its page table is borrowed.
///
/// Having one proves that the table is reachable from the root of that page table, or was when the borrow began: no
/// table returns to the source while a node exists.
pub(super) struct Node<'t, F: TableFormat> {
    pub(super) cells: &'t [Cell<F>],
    pub(super) address: PhysAddr,
    pub(super) level: usize,
}

impl<F: TableFormat> Clone for Node<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: TableFormat> Copy for Node<'_, F> {}

/// What stands in one place of a node.
pub(super) enum Slot<'t, F: TableFormat> {
    /// Nothing, or software state.
    Absent(F::Entry),
    Leaf(F::Entry),
    Table(Node<'t, F>),
    /// What no code here writes.
    Reserved,
}

/// How a table is walked: its window. Methods that change it are called by its exclusive borrower only.
pub(super) struct Walk<'t, F: TableFormat, W> {
    pub(super) window: &'t W,
    format: PhantomData<F>,
}

impl<F: TableFormat, W> Clone for Walk<'_, F, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: TableFormat, W> Copy for Walk<'_, F, W> {}

impl<'t, F: TableFormat, W: TableWindow> Walk<'t, F, W> {
    pub(super) const fn new(window: &'t W) -> Self {
        Self { window, format: PhantomData }
    }

    /// The table of level `level` at `address`.
    ///
    /// # Safety
    /// It is a live table of that level of the page table that is borrowed for `'t`.
    #[inline(always)]
    pub(super) unsafe fn node(self, address: PhysAddr, level: usize) -> Option<Node<'t, F>> {
        let pointer = self.window.table(address, F::table_bytes(level))?;
        // SAFETY: (1) the window's promise: valid for so many bytes, which is the slice's size, and aligned as the table
        // is; (2) all its words were written before it was linked; (3) as long as it is live, it is accessed through
        // atomics only (`Spare` is the other access, and a spare table is not live); (4) the borrow keeps it live.
        let cells = unsafe { slice::from_raw_parts(pointer.cast::<Cell<F>>().as_ptr(), F::entries(level)) };
        Some(Node { cells, address, level })
    }

    /// As [`node`](Self::node), for a table that was taken from this page table's own source: the window showed it then
    /// (`take_frames` makes sure of that), so it shows it now (promise of [`TableWindow`]).
    ///
    /// # Safety
    /// It is a live table of that level of the page table that is borrowed for `'t`, and was taken from its source.
    #[inline(always)]
    pub(super) unsafe fn own_node(self, address: PhysAddr, level: usize) -> Node<'t, F> {
        // SAFETY: the caller's promise.
        let node = unsafe { self.node(address, level) };
        debug_assert!(node.is_some(), "a table that was shown is shown always");
        // SAFETY: as said above.
        unsafe { node.unwrap_unchecked() }
    }

    /// What stands at `index`. A table that the window does not show any more (against its promise) is `Reserved`.
    #[inline(always)]
    pub(super) fn slot(self, node: Node<'t, F>, index: usize) -> Slot<'t, F> {
        // Acquire pairs with the release in `link`: in a shared half, tables are linked by another table's owner while
        // this one is walked. Leaves link nothing.
        let order = if node.level == 0 { Relaxed } else { Acquire };
        let entry = node.cells.get(index).map_or(F::Entry::ZERO, |cell| cell.load(order));
        match F::kind(entry, node.level) {
            Kind::Absent => Slot::Absent(entry),
            Kind::Leaf => Slot::Leaf(entry),
            Kind::Table => {
                // SAFETY: a table entry of a live table links a live one of the level below: `link`, `exchange`, `relocate`,
                // `copy_link` and `link_root` alone write such entries, the last one where every table has one size
                // (`SelfMap::new`), so that it may be seen as one of any level (guarantee 4 of `Format`: leaves and absent entries are no links).
                match unsafe { self.node(F::table_address(entry, node.level), node.level.wrapping_sub(1)) } {
                    Some(child) => Slot::Table(child),
                    None => Slot::Reserved,
                }
            }
            Kind::Reserved => Slot::Reserved,
        }
    }

    /// The table at `index`, if there is one.
    #[inline(always)]
    pub(super) fn child(self, node: Node<'t, F>, index: usize) -> Option<Node<'t, F>> {
        match self.slot(node, index) {
            Slot::Table(child) => Some(child),
            _ => None,
        }
    }

    /// Links a spare table, whose every word was written. Whatever stood there must have been absent, or a leaf that the
    /// table replaces.
    #[inline(always)]
    pub(super) fn link(self, node: Node<'t, F>, index: usize, spare: Spare<'t, F>) {
        self.window.step(node.at(index));
        if let (Some(cell), Ok(entry)) = (node.cells.get(index), F::table(spare.address, node.level)) {
            cell.store(entry, if cfg!(hectare_plant = "table_link_relaxed") { Relaxed } else { Release });
        }
    }

    /// Moves a link, with all that hangs below it, to an empty place of a table of the same level.
    pub(super) fn relocate(self, from: Node<'t, F>, index: usize, into: Node<'t, F>, place: usize) {
        let link = from.load(index);
        self.window.step(from.at(index));
        if let Some(cell) = from.cells.get(index) {
            cell.store(F::Entry::ZERO, Relaxed);
        }
        self.window.step(into.at(place));
        if let Some(cell) = into.cells.get(place) {
            cell.store(link, Release);
        }
    }

    /// Links a spare table in place of `old`, if that is still there.
    pub(super) fn exchange(
        self,
        node: Node<'t, F>,
        index: usize,
        old: F::Entry,
        spare: Spare<'t, F>,
    ) -> Result<(), (F::Entry, Spare<'t, F>)> {
        self.window.step(node.at(index));
        match (node.cells.get(index), F::table(spare.address, node.level)) {
            (Some(cell), Ok(entry)) => match cell.compare_exchange(old, entry, Release, Relaxed) {
                Ok(_) => Ok(()),
                Err(now) => Err((now, spare)),
            },
            _ => Ok(()),
        }
    }

    /// Puts a table that was just unlinked, with all that hangs below it, on a list, of which it becomes the first. Its
    /// first entry becomes the list's link, so a table below that one becomes a member of its own: O(levels).
    pub(super) fn retire(self, node: Node<'t, F>, freed: &mut Freed) {
        if let Some(child) = self.child(node, 0) {
            self.retire(child, freed);
        }
        self.window.step(node.address);
        if let Some(first) = node.cells.first() {
            first.store(freed.link::<F>(), Relaxed);
        }
        #[expect(clippy::cast_possible_truncation, reason = "levels are few")]
        let level = node.level as u8;
        *freed = Freed { first: node.address, level, count: freed.count + 1 };
    }
}

impl Freed {
    /// The absent entry that names the first member of this list, for the one that will stand before it. Not used in
    /// the last one.
    #[inline(always)]
    fn link<F: TableFormat>(&self) -> F::Entry {
        F::absent(link_state::<F>(self.first, self.level)).unwrap_or(F::Entry::ZERO)
    }

    /// The list without its first member, whose first word is `word`.
    fn rest<F: TableFormat>(&self, word: F::Entry) -> Self {
        let state = F::absent_state(word);
        let (frame, level) = (state >> 3, state & 7);
        #[expect(clippy::cast_possible_truncation, reason = "three bits")]
        let level = level as u8;
        Self { first: PhysAddr::new(frame << F::PAGE.log2()), level, count: self.count - 1 }
    }
}

/// A frame number and a level, as the software state of an absent entry.
#[inline(always)]
fn link_state<F: TableFormat>(address: PhysAddr, level: u8) -> u64 {
    address.value() >> F::PAGE.log2() << 3 | u64::from(level)
}

impl<F: TableFormat> Node<'_, F> {
    /// The physical address of an entry.
    #[inline(always)]
    pub(super) fn at(self, index: usize) -> PhysAddr {
        PhysAddr::new(self.address.value().wrapping_add((index * F::Entry::BYTES) as u64))
    }

    #[inline(always)]
    pub(super) fn load(self, index: usize) -> F::Entry {
        self.cells.get(index).map_or(F::Entry::ZERO, |cell| cell.load(Relaxed))
    }

    /// Whether every word is zero: neither mapping nor software state. Looks at the places next to `hint` first.
    pub(super) fn is_empty(self, hint: Range<usize>) -> bool {
        let zero = |index: usize| self.load(index) == F::Entry::ZERO;
        if !zero(hint.end.min(self.cells.len() - 1)) || !zero(hint.start.saturating_sub(1)) {
            return false;
        }
        let mut chunks = self.cells.chunks_exact(8);
        let all = chunks.by_ref().all(|chunk| {
            chunk.iter().fold(F::Entry::ZERO, |sum, cell| sum | cell.load(Relaxed)) == F::Entry::ZERO
        });
        all && chunks.remainder().iter().all(|cell| cell.load(Relaxed) == F::Entry::ZERO)
    }
}

/// Links a root in itself, by a link that its self-map made: the tables seen through it live as long as the root.
pub(super) fn link_root<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    index: usize,
    link: F::Entry,
) {
    walk.window.step(root.at(index));
    if let Some(cell) = root.cells.get(index) {
        cell.store(link, Release);
    }
}

/// Links in `root` the table that `from` links at the same place: one that is pinned, so it lives for ever.
pub(super) fn copy_link<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    root: Node<'_, F>,
    from: Node<'_, F>,
    index: usize,
) {
    walk.window.step(root.at(index));
    if let Some(cell) = root.cells.get(index) {
        cell.store(from.load(index), Release);
    }
}

/// A word of a table that nobody else sees. It may have any contents.
#[cfg(not(hectare_loom))]
#[repr(transparent)]
pub(super) struct Word<F: TableFormat>(core::mem::MaybeUninit<F::Entry>);

/// loom's atomics are no plain words.
#[cfg(hectare_loom)]
#[repr(transparent)]
pub(super) struct Word<F: TableFormat>(Cell<F>);

impl<F: TableFormat> Word<F> {
    #[inline(always)]
    pub(super) fn write(&mut self, entry: F::Entry) {
        #[cfg(not(hectare_loom))]
        self.0.write(entry);
        #[cfg(hectare_loom)]
        self.0.store(entry, Relaxed);
    }

    /// Reads it.
    ///
    /// # Safety
    /// It was written before.
    #[inline(always)]
    unsafe fn read(&self) -> F::Entry {
        #[cfg(not(hectare_loom))]
        // SAFETY: the caller's promise.
        let entry = unsafe { self.0.assume_init() };
        #[cfg(hectare_loom)]
        let entry = self.0.load(Relaxed);
        entry
    }
}

/// A table that is not linked: its memory is exclusively ours, its contents are unspecified.
pub(super) struct Spare<'t, F: TableFormat> {
    pub(super) entries: &'t mut [Word<F>],
    pub(super) address: PhysAddr,
}

impl<F: TableFormat> Spare<'_, F> {
    /// Writes the words of a range that is inside the table.
    #[inline(always)]
    pub(super) fn zero(&mut self, range: Range<usize>) {
        for word in self.entries.get_mut(range).unwrap_or(&mut []) {
            word.write(F::Entry::ZERO);
        }
    }
}

/// Tables that were taken from the source for one operation.
///
/// # Invariants
/// * each was taken from the source, is in no other list and linked nowhere
/// * the window shows it, and an entry and a list link can say its address
pub(super) struct Reserve<F: TableFormat> {
    list: Freed,
    format: PhantomData<F>,
}

impl<F: TableFormat> Reserve<F> {
    pub(super) const EMPTY: Self = Self { list: Freed::NONE, format: PhantomData };

    /// `count` tables of any level but the root's, all or none.
    pub(super) fn take<W: TableWindow, S: FrameSource>(
        count: u64,
        window: &W,
        source: &mut S,
    ) -> Result<Self, TableError> {
        let mut reserve = Self::EMPTY;
        for _ in 0..count {
            if let Err(error) = reserve.take_one(window, source) {
                reserve.give_back(window, source);
                return Err(error);
            }
        }
        Ok(reserve)
    }

    fn take_one<W: TableWindow, S: FrameSource>(
        &mut self,
        window: &W,
        source: &mut S,
    ) -> Result<(), TableError> {
        let address = take_frames::<F, W, S>(F::PAGE.bytes(), window, source)?;
        // The first word alone is written: a slice would need all of them initialised.
        if let Some(pointer) = window.table(address, F::PAGE.bytes()) {
            // SAFETY: (1) the frame was just taken, and the window shows it; (2) a word may have any contents.
            let word = unsafe { pointer.cast::<Word<F>>().as_mut() };
            word.write(self.list.link::<F>());
        }
        self.list = Freed { first: address, level: 0, count: self.list.count + 1 };
        Ok(())
    }

    /// One of them. Its contents are unspecified: every word must be written before it is linked.
    pub(super) fn pop<'t, W: TableWindow>(&mut self, window: &'t W, level: usize) -> Option<Spare<'t, F>> {
        self.list.count.checked_sub(1)?;
        let address = self.list.first;
        let pointer = window.table(address, F::PAGE.bytes())?.cast::<Word<F>>();
        // SAFETY: a table of this list is exclusively ours.
        let word = unsafe { pointer.as_ref() };
        // SAFETY: its first word was written by `take_one`.
        let word = unsafe { word.read() };
        self.list = self.list.rest::<F>(word);
        // SAFETY: (1) the window's promise: valid for a page, which holds a table of any level but the root's, and is
        // aligned to it; (2) a `Word` may have any contents; (3) the frame is exclusively ours (first invariant),
        // and left the list.
        let entries =
            unsafe { slice::from_raw_parts_mut(pointer.cast::<Word<F>>().as_ptr(), F::entries(level)) };
        Some(Spare { entries, address })
    }

    /// Takes one back that was popped here and not linked.
    pub(super) fn push(&mut self, spare: Spare<'_, F>) {
        if let Some(word) = spare.entries.first_mut() {
            word.write(self.list.link::<F>());
        }
        self.list = Freed { first: spare.address, level: 0, count: self.list.count + 1 };
    }

    /// What is left returns to the source.
    pub(super) fn give_back<W: TableWindow, S: FrameSource>(mut self, window: &W, source: &mut S) {
        while let Some(spare) = self.pop(window, 0) {
            // SAFETY: first invariant; nothing ever used it.
            unsafe { release_frames(spare.address, F::PAGE.bytes(), source) };
        }
    }
}

/// How a table of `bytes` bytes is asked for: aligned to its size, in the source's frames.
fn request(bytes: u64, frame: hectare_core::PageSize) -> FrameRequest {
    let frames = bytes.div_ceil(frame.bytes());
    FrameRequest::order(Order::holding(frames).unwrap_or(Order::ZERO))
}

/// Takes one table of a level below the root's, without a list around it.
#[inline(always)]
pub(super) fn take_spare<'t, F: TableFormat, W: TableWindow, S: FrameSource>(
    level: usize,
    window: &'t W,
    source: &mut S,
) -> Result<Spare<'t, F>, TableError> {
    let address = take_frames::<F, W, S>(F::PAGE.bytes(), window, source)?;
    let Some(pointer) = window.table(address, F::PAGE.bytes()) else {
        return Err(TableError::Unreachable { table: address });
    };
    // SAFETY: (1) valid for a page, which holds a table of any level but the root's, and is aligned to it; (2)
    // a `Word` may have any contents; (3) the frame was just taken.
    let entries = unsafe { slice::from_raw_parts_mut(pointer.cast::<Word<F>>().as_ptr(), F::entries(level)) };
    Ok(Spare { entries, address })
}

/// Gives a table back that was not linked.
pub(super) fn give_spare<F: TableFormat, S: FrameSource>(spare: Spare<'_, F>, source: &mut S) {
    // SAFETY: a spare table is exclusively ours, and was taken from this source.
    unsafe { release_frames(spare.address, F::PAGE.bytes(), source) };
}

/// Takes frames for a table that the window shows and that entries and list links can name.
#[inline]
pub(super) fn take_frames<F: TableFormat, W: TableWindow, S: FrameSource>(
    bytes: u64,
    window: &W,
    source: &mut S,
) -> Result<PhysAddr, TableError> {
    let run = source.allocate_frames(request(bytes, S::FRAME_SIZE))?;
    let address = run.first().start(S::FRAME_SIZE).unwrap_or(PhysAddr::new(u64::MAX));
    // A root may be smaller than a page, and aligned to itself only; nothing links it.
    let page = address.align_down(F::PAGE);
    let linked = F::LEVELS < 2 || F::table(page, 1).is_ok() && F::absent(link_state::<F>(page, 7)).is_ok();
    if linked && window.table(address, bytes).is_some() {
        return Ok(address);
    }
    // SAFETY: the run was just taken, and nobody used it. A refusal changes nothing here.
    let _ = unsafe { source.free_frames(run) };
    Err(TableError::Unreachable { table: address })
}

/// Zeroes a root that was just taken.
///
/// # Safety
/// It is exclusively ours, and the window shows it.
pub(super) unsafe fn zero<F: TableFormat, W: TableWindow>(address: PhysAddr, window: &W) {
    let level = F::LEVELS - 1;
    if let Some(pointer) = window.table(address, F::table_bytes(level)) {
        let (pointer, count) = (pointer.cast::<Word<F>>().as_ptr(), F::entries(level));
        // SAFETY: (1) valid for the root's bytes, and aligned to them; (2) a `Word` may have any contents; (3) the
        // caller's promise.
        let entries = unsafe { slice::from_raw_parts_mut(pointer, count) };
        Spare::<F> { entries, address }.zero(0..count);
    }
}

/// Gives the frames of a table back.
///
/// # Safety
/// The table was taken from this source by [`take_frames`] with the same size, and nothing uses it any more.
#[inline]
pub(super) unsafe fn release_frames<S: FrameSource>(address: PhysAddr, bytes: u64, source: &mut S) {
    let request = request(bytes, S::FRAME_SIZE);
    let first = Frame::new(address.value() >> S::FRAME_SIZE.log2());
    if let Some(run) = FrameRun::new(first, request.count.get()) {
        // SAFETY: the caller's promise. A source that refuses its own frames keeps them: a leak, nothing worse.
        let _ = unsafe { source.free_frames(run) };
    }
}

/// Gives every table of a list back, with all that hangs below.
///
/// # Safety
/// They were taken from this source, are in no other list, and nothing uses them any more.
pub(super) unsafe fn release<F: TableFormat, W: TableWindow, S: FrameSource>(
    mut list: Freed,
    window: &W,
    source: &mut S,
) {
    while list.count != 0 {
        let (address, level) = (list.first, usize::from(list.level));
        // SAFETY: a member of the list is a table of that level that nobody uses: alive until it is released below.
        let Some(node) = (unsafe { Walk::<F, W>::new(window).node(address, level) }) else { return };
        list = list.rest::<F>(node.load(0));
        // SAFETY: the caller's promise for this member and what hangs below it. Its first entry is the list's link.
        unsafe { release_tree::<F, W, S>(address, level, 1, window, source) };
    }
}

/// Gives a table back, and first those that its entries from `from` on link. Tables of level 0 are not looked at.
///
/// # Safety
/// As [`release`], for this one tree.
unsafe fn release_tree<F: TableFormat, W: TableWindow, S: FrameSource>(
    address: PhysAddr,
    level: usize,
    from: usize,
    window: &W,
    source: &mut S,
) {
    if level != 0 {
        for index in from..F::entries(level) {
            // SAFETY: the table is alive until it is released below.
            let Some(node) = (unsafe { Walk::<F, W>::new(window).node(address, level) }) else { break };
            let entry = node.load(index);
            if F::kind(entry, level) == Kind::Table {
                let child = F::table_address(entry, level);
                // SAFETY: the table below hangs here only, and nobody uses it (caller).
                unsafe { release_tree::<F, W, S>(child, level - 1, 0, window, source) };
            }
        }
    }
    // SAFETY: the caller's promise, for this table.
    unsafe { release_frames(address, F::PAGE.bytes(), source) };
}

/// Calls `visit` with each table of a list, and each that hangs below one.
///
/// # Safety
/// They are tables of one page table that this window shows, in no other list, and live as long as the call.
pub(super) unsafe fn each<F: TableFormat, W: TableWindow>(
    list: &Freed,
    window: &W,
    visit: &mut impl FnMut(PhysAddr),
) {
    let walk = Walk::<F, W>::new(window);
    let mut list = Freed { ..*list };
    while list.count != 0 {
        // SAFETY: a member of the list is a table of that level (caller).
        let Some(node) = (unsafe { walk.node(list.first, list.level.into()) }) else { return };
        below(walk, node, visit);
        list = list.rest::<F>(node.load(0));
    }
}

fn below<F: TableFormat, W: TableWindow>(
    walk: Walk<'_, F, W>,
    node: Node<'_, F>,
    visit: &mut impl FnMut(PhysAddr),
) {
    visit(node.address);
    let entries = if node.level == 0 { 0 } else { node.cells.len() };
    for child in (0..entries).filter_map(|index| walk.child(node, index)) {
        below(walk, child, visit);
    }
}

/// Joins two lists: `other` goes behind the tables of the shorter one. O(members of the shorter one).
///
/// # Safety
/// Both are lists of tables of one page table that nobody walks through these lists meanwhile.
pub(super) unsafe fn join<F: TableFormat, W: TableWindow>(list: &mut Freed, other: Freed, window: &W) {
    let mine = core::mem::replace(list, Freed::NONE);
    let (short, long) = if mine.count < other.count { (mine, other) } else { (other, mine) };
    if short.count == 0 {
        *list = long;
        return;
    }
    let mut last = Freed { ..short };
    loop {
        // SAFETY: a member of the list is a table of that level that nobody uses.
        let Some(node) = (unsafe { Walk::<F, W>::new(window).node(last.first, last.level.into()) }) else {
            return;
        };
        if last.count == 1 {
            if let Some(first) = node.cells.first() {
                first.store(long.link::<F>(), Relaxed);
            }
            break;
        }
        last = last.rest::<F>(node.load(0));
    }
    *list = Freed { count: short.count + long.count, ..short };
}
