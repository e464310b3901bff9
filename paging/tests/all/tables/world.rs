//! A table beside a map of what it must say, and a walker that shares no code with it.

#![expect(unsafe_code, reason = "reads and writes tables as hardware does")]
#![allow(clippy::std_instead_of_alloc, reason = "runs on hosts only")]

use std::collections::BTreeMap;

use hectare_core::{CheckInvariants, Frame, FrameRun, Page, PageRun, PhysAddr, PhysWindow, VirtAddr};
use hectare_paging::table::{MapOptions, NotLoaded, TableError};
use hectare_paging::{Attributes, Decoded, Entry, Flush, Format, Mapping, PageTable, TableFormat, Touched};
use hectare_testkit::stand_in::{ArenaWindow, Failing, PlainFrames, Schedule};

pub(super) type Source = Failing<PlainFrames>;
pub(super) type Table<F> = PageTable<F, ArenaWindow, Source>;

/// What a page is: its frame, its attributes, what was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Is {
    pub(super) frame: u64,
    pub(super) attributes: Attributes,
    pub(super) touched: Touched,
}

pub(super) struct World<F: TableFormat> {
    pub(super) table: Table<F>,
    pub(super) window: ArenaWindow,
    pub(super) model: BTreeMap<u64, Is>,
    frames: u64,
}

/// The test's tables are in no CPU.
pub(super) fn tlb() -> NotLoaded {
    // SAFETY: no CPU of the test uses the tables that it builds in an arena.
    unsafe { NotLoaded::new() }
}

pub(super) fn pages(first: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(first), count).expect("a run")
}

pub(super) fn frames(first: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(first), count).expect("a run")
}

impl<F: TableFormat> World<F> {
    pub(super) fn new(frames: u64) -> Self {
        let plain = PlainFrames::new(0x100, frames);
        let window = plain.window();
        let table = PageTable::new(window.clone(), Failing::new(plain, Schedule::Never)).expect("a root");
        Self { table, window, model: BTreeMap::new(), frames }
    }

    pub(super) fn finish(&mut self, token: Flush) {
        self.table.finish(token, &tlb()).expect("its own token");
    }

    pub(super) fn map(
        &mut self,
        first: u64,
        frame: u64,
        count: u64,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<(), TableError> {
        self.table.map(Page::new(first), frames(frame, count), attributes, options)?.finish(&tlb());
        for nth in 0..count {
            let is = Is { frame: frame + nth, attributes, touched: options.touched };
            assert_eq!(self.model.insert(first + nth, is), None, "page {:#x} was mapped", first + nth);
        }
        Ok(())
    }

    pub(super) fn unmap(&mut self, first: u64, count: u64) -> Result<(), TableError> {
        let mut seen = vec![];
        let token = self.table.unmap(pages(first, count), |run| expand(&run, &mut seen))?;
        self.finish(token);
        let gone: Vec<_> = self.model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
        for (page, _) in &gone {
            self.model.remove(page);
        }
        same(&seen, &gone, "what an unmap reports");
        Ok(())
    }

    pub(super) fn forget(&mut self, first: u64, count: u64) -> Result<(), TableError> {
        let token = self.table.forget(pages(first, count))?;
        self.finish(token);
        self.model.retain(|page, _| !(first..first + count).contains(page));
        Ok(())
    }

    pub(super) fn protect(
        &mut self,
        first: u64,
        count: u64,
        permissions: hectare_core::Permissions,
    ) -> Result<(), TableError> {
        let token = self.table.protect(pages(first, count), permissions)?;
        self.finish(token);
        for (_, is) in self.model.range_mut(first..first + count) {
            is.attributes.permissions = permissions;
        }
        Ok(())
    }

    pub(super) fn remap(&mut self, first: u64, count: u64, to: u64) -> Result<(), TableError> {
        let token = self.table.remap(pages(first, count), Page::new(to))?;
        self.finish(token);
        let moved: Vec<_> = self.model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
        self.model.retain(|page, _| !(first..first + count).contains(page));
        for (page, is) in moved {
            assert_eq!(self.model.insert(page - first + to, is), None, "page {page:#x} moves onto another");
        }
        Ok(())
    }

    pub(super) fn harvest(&mut self, first: u64, count: u64, clear: Touched) -> Result<(), TableError> {
        let mut seen = vec![];
        let token = self.table.harvest(pages(first, count), clear, |run| expand(&run, &mut seen))?;
        self.finish(token);
        let there: Vec<_> = self.model.range(first..first + count).map(|(page, is)| (*page, *is)).collect();
        same(&seen, &there, "what a harvest reports");
        for (_, is) in self.model.range_mut(first..first + count) {
            is.touched.accessed &= !clear.accessed;
            is.touched.dirty &= !clear.dirty;
        }
        Ok(())
    }

    /// Coalesces; the larger leaves may claim that more was accessed and written, never less.
    pub(super) fn coalesce(&mut self, first: u64, count: u64) -> Result<(), TableError> {
        let token = self.table.coalesce(pages(first, count))?;
        self.finish(token);
        let mut seen = vec![];
        self.table.all_runs().for_each(|run| expand(&run, &mut seen));
        assert_eq!(seen.len(), self.model.len());
        for ((page, is), (known, model)) in seen.iter().zip(&mut self.model) {
            assert_eq!((page, is.frame, is.attributes), (known, model.frame, model.attributes));
            assert_eq!(is.touched, is.touched.or(model.touched), "bits of page {page:#x} are lost");
            *model = *is;
        }
        Ok(())
    }

    /// Copies a range into another world, whose source fails wherever it can.
    pub(super) fn copy(
        &mut self,
        other: &mut Self,
        first: u64,
        count: u64,
        protect: bool,
    ) -> Result<(), TableError> {
        for granted in 0.. {
            let (ours, theirs) = (self.bytes(), other.bytes());
            let (mut seen, refused) = (vec![], other.table.source().refused());
            other.table.source_mut().reschedule(Schedule::After(granted));
            let result = self.table.copy_into(pages(first, count), &mut other.table, protect, |run| {
                expand(&run, &mut seen);
            });
            other.table.source_mut().reschedule(Schedule::Never);
            match result {
                Ok((token, fresh)) => {
                    self.finish(token);
                    fresh.finish(&tlb());
                    let mut copied = vec![];
                    for (page, is) in self.model.range_mut(first..first + count) {
                        if protect {
                            is.attributes.permissions -= hectare_core::Permissions::WRITE;
                        }
                        copied.push((*page, *is));
                        assert_eq!(other.model.insert(*page, *is), None);
                    }
                    same(&seen, &copied, "what a copy reports");
                    return Ok(());
                }
                Err(error) => {
                    assert_eq!(
                        (self.bytes(), other.bytes()),
                        (ours, theirs),
                        "a refused copy changed a table"
                    );
                    if other.table.source().refused() == refused {
                        return Err(error);
                    }
                }
            }
        }
        unreachable!()
    }

    /// What hardware does on an access: sets bits in the leaf, whatever its size.
    pub(super) fn access(&mut self, page: u64, write: bool) {
        let address = Page::new(page).start(F::PAGE).expect("an address");
        let Some((place, level, _)) = walk::<F>(&self.window, self.table.root(), address) else { return };
        let entry = read::<F>(&self.window, place);
        let touched = F::touched(entry, level);
        let writes =
            write && F::attributes(entry, level).permissions.contains(hectare_core::Permissions::WRITE);
        let now = touched.or(Touched { accessed: true, dirty: writes });
        write_entry::<F>(&self.window, place, F::with_touched(entry, now, level));
        // The bits of one entry count for its whole contiguous run.
        let run = F::RUNS[level].filter(|_| F::is_contiguous(entry, level)).map_or(0, |run| run.log2);
        let covered = 1 << (F::SHIFTS[level] - F::PAGE.log2() + run);
        let first = page & !(covered - 1);
        for (_, is) in self.model.range_mut(first..first + covered) {
            is.touched = is.touched.or(Touched { accessed: true, dirty: writes });
        }
    }

    /// The table says what the model says, to both walkers; its invariants hold; no frame is lost.
    pub(super) fn check(&self, probes: impl IntoIterator<Item = u64>) {
        self.table.check_invariants().expect("invariants");
        let mut seen = vec![];
        self.table.all_runs().for_each(|run| expand(&run, &mut seen));
        let there: Vec<_> = self.model.iter().map(|(page, is)| (*page, *is)).collect();
        same(&seen, &there, "the runs of the table");
        for page in probes {
            let address = Page::new(page).start(F::PAGE).expect("an address").checked_add(5).expect("small");
            let model = self.model.get(&page);
            let hit = self.table.find(address);
            let expected = model.map(|is| (is.frame << F::PAGE.log2()) + 5);
            assert_eq!(hit.map(|hit| hit.address.value()), expected, "page {page:#x}");
            let walked = walk::<F>(&self.window, self.table.root(), address);
            assert_eq!(walked.map(|(_, _, memory)| memory.value()), expected, "page {page:#x}, by hand");
            assert_eq!(hit.map(|hit| hit.attributes()), model.map(|is| is.attributes));
        }
        let free = self.table.source().inner().free();
        let root = F::table_bytes(F::LEVELS - 1).div_ceil(4096);
        let used = root + (self.table.tables() - 1) * (F::PAGE.bytes() >> 12);
        assert_eq!(free + used, self.frames, "frames free and in tables");
        self.table.source().inner().check_invariants().expect("nothing written beside the frames");
    }

    pub(super) fn destroy(self) {
        let frames = self.frames;
        let source = self.table.destroy(&tlb());
        assert_eq!(source.inner().free(), frames, "all frames came back");
    }

    /// Every word of every table.
    pub(super) fn bytes(&self) -> Vec<(u64, u64)> {
        let mut words = vec![];
        dump::<F>(&self.window, self.table.root(), F::LEVELS - 1, &mut words);
        words
    }

    /// The call fails for want of a frame at each place where it can, changing nothing, and succeeds then.
    pub(super) fn failing(
        &mut self,
        mut call: impl FnMut(&mut Self) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        for granted in 0.. {
            let before = self.bytes();
            let free = self.table.source().inner().free();
            self.table.source_mut().reschedule(Schedule::After(granted));
            let result = call(self);
            self.table.source_mut().reschedule(Schedule::Never);
            match result {
                Ok(()) => return Ok(()),
                Err(error) => {
                    assert_eq!(self.bytes(), before, "a refused call changed a table: {error}");
                    assert_eq!(self.table.source().inner().free(), free, "a refused call keeps frames");
                    if !matches!(error, TableError::Frames(_)) {
                        return Err(error);
                    }
                }
            }
        }
        unreachable!()
    }
}

/// Compares two lists of pages; names the first difference.
fn same(table: &[(u64, Is)], model: &[(u64, Is)], what: &str) {
    let differs = table.iter().zip(model).position(|(one, two)| one != two);
    if let Some(nth) = differs {
        panic!("{what}: {:x?}, not {:x?}", table[nth], model[nth]);
    }
    assert_eq!(table.len(), model.len(), "{what}: the number of pages");
}

/// The pages of a run, one by one.
pub(super) fn expand<F: TableFormat>(run: &Mapping<F>, into: &mut Vec<(u64, Is)>) {
    assert_eq!(run.pages().count(), run.frames().count());
    for (page, frame) in run.pages().iter().zip(run.frames().iter()) {
        let is = Is { frame: frame.number(), attributes: run.attributes(), touched: run.touched() };
        into.push((page.number(), is));
    }
}

fn place(window: &ArenaWindow, at: PhysAddr, bytes: u64) -> core::ptr::NonNull<u8> {
    window.pointer(at, bytes).expect("in the arena")
}

pub(super) fn read<F: Format>(window: &ArenaWindow, at: PhysAddr) -> F::Entry {
    let pointer = place(window, at, F::Entry::BYTES as u64).cast::<F::Entry>();
    // SAFETY: a word of a live table; nobody writes at the same time.
    unsafe { pointer.read() }
}

pub(super) fn write_entry<F: Format>(window: &ArenaWindow, at: PhysAddr, entry: F::Entry) {
    let pointer = place(window, at, F::Entry::BYTES as u64).cast::<F::Entry>();
    // SAFETY: as above.
    unsafe { pointer.write(entry) };
}

/// The leaf for an address: where it stands, its level, the byte's physical address. As short as a manual says it.
pub(super) fn walk<F: Format>(
    window: &ArenaWindow,
    root: PhysAddr,
    address: VirtAddr,
) -> Option<(PhysAddr, usize, PhysAddr)> {
    let (mut table, mut level) = (root.value(), F::LEVELS - 1);
    loop {
        let below = u32::from(F::SHIFTS[level]);
        let index = address.value() >> below & ((1 << F::INDEX_BITS[level]) - 1);
        let place = PhysAddr::new(table + index * F::Entry::BYTES as u64);
        match F::decode(read::<F>(window, place), level, usize::try_from(index).unwrap()) {
            Decoded::Table { address } => (table, level) = (address.value(), level - 1),
            Decoded::Leaf { address: memory, .. } => {
                let offset = address.value() & ((1 << below) - 1);
                return Some((place, level, PhysAddr::new(memory.value() + offset)));
            }
            Decoded::Absent { .. } => return None,
            Decoded::Reserved => panic!("a reserved entry at {place}"),
        }
    }
}

fn dump<F: Format>(window: &ArenaWindow, table: PhysAddr, level: usize, words: &mut Vec<(u64, u64)>) {
    for index in 0..F::entries(level) {
        let at = PhysAddr::new(table.value() + (index * F::Entry::BYTES) as u64);
        let entry = read::<F>(window, at);
        if entry != F::Entry::ZERO {
            words.push((at.value(), entry.widen()));
        }
        if let Decoded::Table { address } = F::decode(entry, level, index) {
            dump::<F>(window, address, level - 1, words);
        }
    }
}
