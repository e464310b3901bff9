//! A translation unit that does everything which a real one may do, at the worst moment.
//!
//! ```text
//!   every store of the table code ──step──► disturb: walk, cache, access, evict          (the unit)
//!   every invalidation            ────────► forget just what was named, nothing else
//!   every allocation              ────────► the frame is full of present garbage
//!   every free                    ────────► no cache may lead there any more
//! ```
//! It panics, naming the rule, as soon as
//! * a walk reads a word that was never written, or a table that is free;
//! * a table is freed that an upper-level cache still leads to;
//! * two translations that overlap differ, where the architecture wants break-before-make;
//! * a present entry is malformed;
//!
//! and, when everything that was owed has been paid ([`Mmu::audit`]),
//! * a cached translation maps elsewhere, grants more, or hides an access or a write that it would have to record;
//! * an upper-level cache, a cached absence or a latched root entry is out of date;
//! * a page was written and its entry does not say so.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::{BTreeMap, BTreeSet};

use hectare_core::{Permissions, PhysAddr, PhysWindow, VirtAddr};
use hectare_paging::format::{Fresh, SetBy};
use hectare_paging::table::Invalidation;
use hectare_paging::{AtomicEntry, Entry, Format, Kind, LiveEntry, TableFormat, Touched};
use hectare_testkit::stand_in::ArenaWindow;

use crate::memory::Used;

type Cell<F> = <<F as Format>::Entry as LiveEntry>::Atomic;

/// What fresh frames are filled with: present in every format.
pub(crate) const GARBAGE: u8 = 0xD7;

/// A cached leaf.
#[derive(Clone, Copy, Debug)]
struct Cached<E> {
    /// The linear address that it begins at, and the logarithm of what it covers (a page or a contiguous run).
    first: u64,
    bits: u8,
    memory: u64,
    /// Where its entry stands, or stood.
    place: u64,
    entry: E,
    level: usize,
}

impl<E> Cached<E> {
    fn covers(&self, linear: u64) -> bool {
        linear >> self.bits == self.first >> self.bits
    }

    fn meets(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.first + ((1 << self.bits) - 1)
    }
}

/// What a walk of memory finds.
struct Found<E> {
    cached: Cached<E>,
    place: u64,
}

pub(crate) struct Mmu<F: TableFormat> {
    memory: ArenaWindow,
    root: Option<u64>,
    /// The entries of the root as they were when it was loaded, where the hardware latches them.
    latched: Vec<F::Entry>,
    leaves: Vec<Cached<F::Entry>>,
    /// Tables by level of the entry that links them, and by the address bits above.
    tables: BTreeMap<(usize, u64), u64>,
    /// Entries seen absent, where the hardware may remember that.
    absent: BTreeSet<(usize, u64)>,
    used: Used,
    /// Frames that were written since anybody was told.
    pub(crate) written: BTreeSet<u64>,
    pub(crate) pages: core::ops::Range<u64>,
    random: u64,
    /// Stores since it last had nothing to do with one.
    stores: u64,
}

impl<F: TableFormat> Mmu<F> {
    pub(crate) fn new(memory: ArenaWindow, used: Used, pages: core::ops::Range<u64>, seed: u64) -> Self {
        Self {
            memory,
            root: None,
            latched: vec![],
            leaves: vec![],
            tables: BTreeMap::new(),
            absent: BTreeSet::new(),
            used,
            written: BTreeSet::new(),
            pages,
            random: seed | 1,
            stores: 0,
        }
    }

    /// Uses this root from now on.
    pub(crate) fn load(&mut self, root: PhysAddr) {
        self.root = Some(root.value());
        let entries = if F::ROOT_LATCHED { F::entries(F::LEVELS - 1) } else { 0 };
        self.latched = (0..entries).map(|index| self.read(root.value(), index)).collect();
    }

    /// Uses no root any more. What it cached it keeps.
    pub(crate) fn unload(&mut self) {
        self.root = None;
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    /// A few actions before a store to the entry at `place`: first of all a write through a cached copy of it.
    pub(crate) fn before(&mut self, place: PhysAddr) {
        let copy = self.leaves.iter().position(|cached| cached.place == place.value());
        if let Some(at) = copy.filter(|_| self.root.is_some() && self.random(2) == 0) {
            let linear = self.leaves[at].first + self.random(1 << self.leaves[at].bits);
            self.through(at, linear, true);
        }
        // Of a long run of stores the first ones count most, and all are to be tried in a reasonable time.
        self.stores += 1;
        if self.stores < 24 || self.random(8) == 0 {
            self.act_often();
        }
    }

    /// A few actions, between two calls of the table code.
    pub(crate) fn disturb(&mut self) {
        self.stores = 0;
        self.act_often();
    }

    fn act_often(&mut self) {
        if self.root.is_none() {
            return;
        }
        for _ in 0..=self.random(4) {
            self.act();
        }
    }

    fn act(&mut self) {
        match self.random(16) {
            0 => drop(self.tables.pop_first()),
            1 => drop(self.absent.pop_last()),
            2 | 3 if !self.leaves.is_empty() => {
                let victim = self.random(self.leaves.len() as u64) as usize;
                self.leaves.swap_remove(victim);
            }
            action => {
                let (pages, offset) = (self.pages.end - self.pages.start, self.random(1 << F::SHIFTS[0]));
                // Neighbours of borders are where faults are.
                let page = match self.random(4) {
                    0 => self.random(pages) & !7,
                    1 => self.random(4),
                    _ => self.random(pages),
                };
                let linear = F::linear(VirtAddr::new((self.pages.start + page) << F::SHIFTS[0] | offset));
                self.access(linear, action % 4 == 0);
            }
        }
        if self.leaves.len() > 48 {
            self.leaves.swap_remove(0);
        }
    }

    /// One load or store by a program or the kernel, or a speculative walk on their behalf.
    fn access(&mut self, linear: u64, write: bool) {
        let found = self.leaves.iter().position(|cached| cached.covers(linear));
        // Another processor, or another cache of this one, may walk although the page is cached here.
        let at = match found.filter(|_| self.random(4) != 0) {
            Some(at) => at,
            None => match self.fill(linear) {
                Some(at) => at,
                None => return,
            },
        };
        self.through(at, linear, write);
    }

    /// An access through a cached translation.
    fn through(&mut self, at: usize, linear: u64, write: bool) {
        let cached = self.leaves[at];
        if !write || !F::attributes(cached.entry, cached.level).permissions.contains(Permissions::WRITE) {
            return;
        }
        if !F::touched(cached.entry, cached.level).dirty {
            match F::DIRTY {
                SetBy::Fault => return,
                SetBy::Nobody => {}
                SetBy::Hardware => {
                    // The processor walks again, sets the bit in whatever maps the same memory, and does not look at the
                    // right to write once more.
                    let Some(now) = self.walk(linear, true) else {
                        self.leaves.swap_remove(at);
                        return;
                    };
                    let offset = |cached: &Cached<F::Entry>| cached.memory.wrapping_sub(cached.first);
                    if offset(&now.cached) != offset(&cached) {
                        self.leaves.swap_remove(at);
                        return;
                    }
                    self.set(now.place, now.cached.level, Touched::DIRTY);
                    // What it caches as dirty is what it found: if a huge leaf was split, a page.
                    let entry = F::with_touched(now.cached.entry, Touched::DIRTY, now.cached.level);
                    if now.cached.bits == cached.bits {
                        self.leaves[at].entry = F::with_touched(cached.entry, Touched::DIRTY, cached.level);
                    } else {
                        self.leaves.push(Cached { entry, ..now.cached });
                    }
                }
            }
        }
        if F::DIRTY != SetBy::Nobody {
            self.written.insert((cached.memory + (linear - cached.first)) >> F::SHIFTS[0]);
        }
    }

    /// Walks and caches; where in the cache.
    fn fill(&mut self, linear: u64) -> Option<usize> {
        let mut found = self.walk(linear, false)?;
        let (entry, level) = (found.cached.entry, found.cached.level);
        if !F::touched(entry, level).accessed {
            match F::ACCESSED {
                SetBy::Fault => return None,
                SetBy::Nobody => {}
                SetBy::Hardware => {
                    self.set(found.place, level, Touched::ACCESSED);
                    let touched = F::touched(entry, level).or(Touched::ACCESSED);
                    found.cached.entry = F::with_touched(entry, touched, level);
                }
            }
        }
        if F::BREAK_BEFORE_MAKE {
            self.check_conflict(&found.cached);
        }
        self.leaves.push(found.cached);
        Some(self.leaves.len() - 1)
    }

    fn check_conflict(&self, new: &Cached<F::Entry>) {
        for old in &self.leaves {
            if !old.meets(new.first, new.first + ((1 << new.bits) - 1)) {
                continue;
            }
            let same = |f: fn(&Cached<F::Entry>) -> u64| f(old) == f(new);
            let memory =
                F::attributes(old.entry, old.level).memory == F::attributes(new.entry, new.level).memory;
            assert!(
                memory && same(|c| c.bits.into()) && same(|c| c.memory),
                "break before make: {old:x?} is cached, and now {new:x?} is found",
            );
        }
    }

    /// Walks from an upper-level cache or from the root. Caches what it passes. `quietly`: as the unit does to set a bit.
    fn walk(&mut self, linear: u64, quietly: bool) -> Option<Found<F::Entry>> {
        let (mut table, mut level) = (self.root?, F::LEVELS - 1);
        if self.random(4) != 0 {
            for above in 1..F::LEVELS {
                if let Some(cached) = self.tables.get(&(above, linear >> F::SHIFTS[above])) {
                    (table, level) = (*cached, above - 1);
                    break;
                }
            }
        }
        loop {
            let (index, prefix) = (F::index(VirtAddr::new(linear), level), linear >> F::SHIFTS[level]);
            if !quietly && self.absent.contains(&(level, prefix)) && self.random(4) != 0 {
                return None;
            }
            let latched = F::ROOT_LATCHED && level == F::LEVELS - 1;
            let entry = if latched { self.latched[index] } else { self.read(table, index) };
            match F::kind(entry, level) {
                Kind::Absent => {
                    if F::FRESH != Fresh::Nothing {
                        self.absent.insert((level, prefix));
                    }
                    return None;
                }
                Kind::Reserved => panic!("a malformed entry: {entry:#x} at level {level}"),
                Kind::Leaf => {
                    let place = table + (index * F::Entry::BYTES) as u64;
                    return Some(Found { cached: leaf::<F>(entry, level, index, linear, place), place });
                }
                Kind::Table => {
                    table = F::table_address(entry, level).value();
                    self.tables.insert((level, prefix), table);
                    level -= 1;
                }
            }
        }
    }

    fn cell(&self, place: u64) -> &Cell<F> {
        let pointer = self.memory.pointer(PhysAddr::new(place), F::Entry::BYTES as u64);
        let pointer = pointer.unwrap_or_else(|| panic!("a walk leaves memory: {place:#x}"));
        // SAFETY: (1) the window's promise: valid for an entry, aligned to it; (2) tables in use are accessed by atomics.
        unsafe { pointer.cast::<Cell<F>>().as_ref() }
    }

    fn read(&self, table: u64, index: usize) -> F::Entry {
        let place = table + (index * F::Entry::BYTES) as u64;
        assert!(
            self.used.borrow().contains(&(place >> 12)),
            "a walk through a freed table: {table:#x}[{index}]"
        );
        let entry = self.cell(place).load(Relaxed);
        let garbage = F::Entry::truncate(u64::from_ne_bytes([GARBAGE; 8]));
        assert!(entry != garbage, "a walk through a table that was not written: {table:#x}[{index}]");
        entry
    }

    /// An entry, zero-extended.
    pub(crate) fn word(&self, place: u64) -> u64 {
        self.cell(place).load(Relaxed).widen()
    }

    /// Sets bits in a leaf as the hardware does: atomically, if it is still there. In a contiguous run any of its entries
    /// may be the one.
    fn set(&mut self, place: u64, level: usize, touched: Touched) {
        let mut place = place;
        let entry = self.cell(place).load(Relaxed);
        if let Some(run) = F::RUNS[level].filter(|_| F::is_contiguous(entry, level)) {
            let bytes = (F::Entry::BYTES as u64) << run.log2;
            let other = (place & !(bytes - 1)) + self.random(1 << run.log2) * F::Entry::BYTES as u64;
            let there = self.cell(other).load(Relaxed);
            if F::kind(there, level) == Kind::Leaf && F::is_contiguous(there, level) {
                place = other;
            }
        }
        let cell = self.cell(place);
        let now = cell.load(Relaxed);
        if F::kind(now, level) == Kind::Leaf {
            let set = F::touched(now, level).or(touched);
            cell.store(F::with_touched(now, set, level), Relaxed);
        }
    }

    /// Forgets what is named, and nothing else.
    pub(crate) fn invalidate(&mut self, what: &Invalidation<'_>) {
        // An instruction names an address, and forgets what translates that address: one for each page of a span.
        let named = |first: u64, last: u64| {
            what.everything
                || what.spans.iter().any(|span| {
                    let (start, end) = (F::linear(span.first()), F::linear(span.last()));
                    let stride = span.stride().bytes();
                    let next = start + first.saturating_sub(start).div_ceil(stride) * stride;
                    next <= last && next <= end
                })
        };
        self.leaves.retain(|leaf| {
            let kept = F::attributes(leaf.entry, leaf.level).global && !what.global;
            kept || !named(leaf.first, leaf.first + ((1 << leaf.bits) - 1))
        });
        // Where a barrier is owed, an absence is not cached: the store was not seen yet, and every call begins with one.
        let barrier = F::FRESH == Fresh::Barrier;
        self.absent.retain(|&(level, prefix)| {
            let first = prefix << F::SHIFTS[level];
            !barrier && !named(first, first + ((1 << F::SHIFTS[level]) - 1))
        });
        if what.tables {
            self.tables.clear();
        }
        if let Some(root) = self.root.filter(|_| what.reload) {
            self.tables.clear();
            self.load(PhysAddr::new(root));
        }
    }

    /// A run of frames goes back.
    pub(crate) fn free(&mut self, frames: core::ops::Range<u64>) {
        let mut tables = self.tables.iter();
        let led = tables.find(|(_, table)| frames.contains(&(**table >> 12)));
        assert!(led.is_none(), "a table is freed that a cache leads to: {led:x?}");
    }

    /// Everything that was owed is paid: caches say what memory says, or less.
    pub(crate) fn audit(&mut self) {
        for ((level, prefix), table) in self.tables.clone() {
            let now = self.linked(prefix << F::SHIFTS[level], level);
            assert_eq!(now, Some(table), "stale: an upper level's cache at {prefix:#x}, level {level}");
        }
        for (level, prefix) in self.absent.clone() {
            let now = self.plain(prefix << F::SHIFTS[level]);
            let there = now.is_some_and(|found| found.cached.level >= level);
            assert!(!there, "stale: a page is mapped and still cached as absent: {prefix:#x}, level {level}");
        }
        for (index, latched) in self.latched.clone().into_iter().enumerate() {
            let now = self.read(self.root.unwrap_or_default(), index);
            assert_eq!(latched, now, "stale: root entry {index} was not loaded again");
        }
        for cached in self.leaves.clone() {
            let pages = 1_u64 << (cached.bits - F::SHIFTS[0]);
            for nth in 0..pages.min(6) {
                let page = if pages <= 6 { nth } else { self.random(pages) };
                self.audit_page(&cached, cached.first + (page << F::SHIFTS[0]));
            }
        }
    }

    fn audit_page(&self, cached: &Cached<F::Entry>, linear: u64) {
        let Some(now) = self.plain(linear) else {
            panic!("stale: {linear:#x} is cached, and gone: {cached:x?}")
        };
        let now = now.cached;
        let offset = |cached: &Cached<F::Entry>| cached.memory.wrapping_sub(cached.first);
        assert_eq!(offset(cached), offset(&now), "stale: {linear:#x} is cached with another frame");
        let (was, is) = (F::attributes(cached.entry, cached.level), F::attributes(now.entry, now.level));
        assert!(
            is.permissions.contains(was.permissions),
            "stale: {linear:#x} is cached as {was:?} and is {is:?}"
        );
        assert_eq!(was.memory, is.memory, "stale: {linear:#x} is cached with another memory type");
        let (was, is) = (F::touched(cached.entry, cached.level), self.touched(linear, &now));
        let hidden = was.accessed && !is.accessed && F::ACCESSED == SetBy::Hardware;
        assert!(!hidden, "stale: an access to {linear:#x} would not be recorded");
        assert!(!was.dirty || is.dirty, "stale: a write to {linear:#x} would not be recorded");
    }

    /// The bits of a page; a contiguous run has them where any of its entries has.
    fn touched(&self, linear: u64, leaf: &Cached<F::Entry>) -> Touched {
        let size = F::SHIFTS[leaf.level];
        let count = 1_u64 << (leaf.bits - size);
        (0..count).fold(F::touched(leaf.entry, leaf.level), |sum, nth| {
            let member = self.plain((linear >> leaf.bits << leaf.bits) + (nth << size));
            sum.or(member.map_or(Touched::NO, |found| F::touched(found.cached.entry, found.cached.level)))
        })
    }

    /// Whether the page's entry says that it was written.
    pub(crate) fn is_dirty(&self, page: u64) -> bool {
        let linear = F::linear(VirtAddr::new(page << F::SHIFTS[0]));
        self.plain(linear).is_some_and(|found| self.touched(linear, &found.cached).dirty)
    }

    /// What memory says, without any cache.
    fn plain(&self, linear: u64) -> Option<Found<F::Entry>> {
        let (mut table, mut level) = (self.root?, F::LEVELS - 1);
        loop {
            let index = F::index(VirtAddr::new(linear), level);
            let entry = self.read(table, index);
            match F::kind(entry, level) {
                Kind::Leaf => {
                    let place = table + (index * F::Entry::BYTES) as u64;
                    return Some(Found { cached: leaf::<F>(entry, level, index, linear, place), place });
                }
                Kind::Table => (table, level) = (F::table_address(entry, level).value(), level - 1),
                Kind::Absent | Kind::Reserved => return None,
            }
        }
    }

    /// The table that the entry of level `level` links.
    fn linked(&self, linear: u64, level: usize) -> Option<u64> {
        let mut table = self.root?;
        for above in (level..F::LEVELS).rev() {
            let entry = self.read(table, F::index(VirtAddr::new(linear), above));
            if F::kind(entry, above) != Kind::Table {
                return None;
            }
            table = F::table_address(entry, above).value();
        }
        Some(table)
    }
}

fn leaf<F: Format>(entry: F::Entry, level: usize, index: usize, linear: u64, place: u64) -> Cached<F::Entry> {
    let mut bits = F::SHIFTS[level];
    let address = F::leaf_address(entry, level, index).value();
    let mut first = linear >> bits << bits;
    let distance = address.wrapping_sub(first);
    if let Some(run) = F::RUNS[level].filter(|_| F::is_contiguous(entry, level)) {
        bits += run.log2;
        first = linear >> bits << bits;
    }
    Cached { first, bits, memory: first.wrapping_add(distance), place, entry, level }
}
