//! One trace through address spaces.
#![allow(unsafe_code, reason = "makes a source of frames of an arena")]

use core::num::NonZero;
use std::collections::HashMap;

use hectare_buddy::{Bank, Banks, Engine, Frames, Rows64, words_for};
use hectare_core::{
    Access, CheckInvariants, DirectMap, Frame, FrameRun, Page, PageRun, Permissions, PhysAddr, VirtAddr,
};
use hectare_paging::format::X86_64;
use hectare_paging::space::{
    AddressSpace, Advice, AreaFlags, Backing, Handled, How, HugePages, MapRequest, Move, ObjectId, Place,
    Settings,
};
use hectare_testkit::trace::vm::{Action, Mapping, VmTrace};

use super::choices::Choice;
use super::machine::{Handle, Machine, walk};
use crate::arena::Arena;
use crate::clock;

/// The format that is replayed with.
pub type F = X86_64<4>;
/// Where frames come from.
pub type Buddy = Frames<'static, Rows64, 12>;
type Space<'m> = AddressSpace<F, Handle<'m, Buddy, DirectMap>>;

/// Memory that machines of one trace use one after the other, so that the host's own first faults are not measured.
#[derive(Debug)]
pub struct Memory {
    arena: Arena,
    frames: u64,
}

/// The number of the first frame: none is number 0.
const FIRST: u64 = 1 << 8;

impl Memory {
    /// So many frames.
    ///
    /// # Errors
    /// The system has no such range.
    pub fn new(frames: u64) -> Result<Self, String> {
        let length = usize::try_from(frames << 12).map_err(|error| error.to_string())?;
        let arena = Arena::new(length).map_err(|error| error.to_string())?;
        Ok(Self { arena, frames })
    }
}

/// Runs `f` with a machine in this memory, which ends with it.
///
/// # Panics
/// The memory is empty.
pub fn with_machine<R>(memory: &mut Memory, f: impl FnOnce(&Machine<Buddy, DirectMap>) -> R) -> R {
    let all = FrameRun::new(Frame::new(FIRST), memory.frames).expect("there are frames");
    let region = memory.arena.region(memory.arena.length());
    let first = PhysAddr::new(FIRST << 12);
    // SAFETY: the region is the arena's, and is borrowed as long as the machine and its window live.
    let window = unsafe { DirectMap::new(region.cast(), first, memory.frames << 12) }.expect("does not wrap");
    // A few hundred words a gigabyte, kept for the rest of the process.
    let bank: &'static mut [Bank] = Box::leak(Box::new([None]));
    let mut banks = Banks::new(bank);
    banks.add(all).expect("room for a bank");
    let words = vec![0; words_for::<Rows64>(all).expect("few enough frames")].leak();
    let engine = Engine::new(banks, words).expect("room for all frames");
    // SAFETY: the frames are the arena's pages, which only this machine uses while it lives.
    let source = unsafe { Frames::new(engine) };
    let machine = Machine::new(source, window, all);
    machine.cache.cluster.set(16);
    f(&machine)
}

/// What the checked pass found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is not as the kernel had it, in words.
    pub differences: Vec<String>,
    /// Faults of the trace.
    pub recorded: u64,
    /// Faults that were handled here.
    pub handled: u64,
    /// How pages came.
    pub how: HashMap<How, u64>,
    /// Pages mapped beside those that faulted.
    pub around: u64,
    /// Huge pages at first touch.
    pub huge: u64,
    /// Huge pages made of small ones.
    pub promoted: u64,
    /// Pages that were mapped when their process ended, and how many of them by huge pages.
    pub at_end: (u64, u64),
    /// The most tables at one time.
    pub tables_peak: u64,
    /// The most frames at one time, of pages, tables and the object cache.
    pub frames_peak: u64,
    /// The most pages that were mapped at one time.
    pub resident_peak: u64,
    /// Pages mapped over time.
    pub samples: Vec<u64>,
    /// References of the trace's faults: which page of which object or process.
    pub references: Vec<u64>,
}

/// The state of a replay.
struct Replay<'m> {
    machine: &'m Machine<Buddy, DirectMap>,
    settings: Settings,
    spaces: Vec<Option<Space<'m>>>,
    /// Whether the heap's beginning is known.
    heaps: Vec<bool>,
    /// Objects by name, or by what is known of a mapped file.
    names: HashMap<String, u64>,
    /// The object behind each file descriptor of a process.
    files: HashMap<(u32, i64), u64>,
    finals: HashMap<u32, Vec<Mapping>>,
    found: Checked,
    /// Whether a background thread makes huge pages, and where it goes on in each process.
    promote: bool,
    next: Vec<Page>,
    records: usize,
    /// Whether this is the pass that looks at everything.
    looks: bool,
    /// Ticks of each handled fault: the least of all passes.
    ticks: Option<Vec<u32>>,
    handled: usize,
}

const PAGE: u64 = 4096;
/// How often the background thread that makes huge pages works, and how many groups of pages it looks at then.
const RECORDS: usize = 64;
const GROUPS: u64 = 4;

impl<'m> Replay<'m> {
    fn new(machine: &'m Machine<Buddy, DirectMap>, trace: &VmTrace, choice: &Choice) -> Self {
        // From 64 KiB to 2^47, as on Linux.
        let window = PageRun::new(Page::new(16), (1 << 35) - 16).expect("pages");
        let zero_frame = choice.zero_frame.then(|| machine.zero_frame());
        let settings = Settings {
            fault_around: choice.fault_around,
            huge: choice.huge,
            zero_frame,
            ..Settings::new(window)
        };
        let count = trace.processes as usize;
        let mut spaces: Vec<Option<Space<'m>>> = (0..count).map(|_| None).collect();
        if let Some(first) = spaces.first_mut() {
            *first = AddressSpace::new(machine.kernel(), settings).ok();
        }
        Self {
            machine,
            settings,
            spaces,
            heaps: vec![false; count],
            names: HashMap::new(),
            files: HashMap::new(),
            finals: HashMap::new(),
            found: Checked::default(),
            promote: choice.promote,
            next: vec![Page::new(0); count],
            records: 0,
            looks: false,
            ticks: None,
            handled: 0,
        }
    }

    fn object(&mut self, name: String) -> ObjectId {
        let next = self.names.len() as u64 + 1;
        ObjectId::new(*self.names.entry(name).or_insert(next)).expect("counted from 1")
    }

    /// A step of the background thread that makes huge pages, after every so many records.
    fn background(&mut self, process: u32) {
        self.records += 1;
        let index = process as usize;
        if !self.promote || !self.records.is_multiple_of(RECORDS) {
            return;
        }
        let Some(space) = &mut self.spaces[index] else { return };
        // Wanted here, but not at first touch.
        space.set(Settings { huge: HugePages::Always, ..self.settings });
        self.next[index] = space.promote_some(self.next[index], GROUPS).next.unwrap_or(Page::new(0));
        space.set(self.settings);
    }

    fn step(&mut self, process: u32, action: &Action) -> Result<(), String> {
        self.background(process);
        let index = process as usize;
        let page = |address: u64| Page::new(address / PAGE);
        let say = |error: hectare_paging::space::SpaceError| error.to_string();
        match action {
            Action::Exec { .. } => {
                self.heaps[index] = false;
                match &mut self.spaces[index] {
                    Some(space) => space.clear(),
                    none => {
                        *none = Some(AddressSpace::new(self.machine.kernel(), self.settings).map_err(say)?)
                    }
                }
                return Ok(());
            }
            Action::Fork { child } => {
                let space = self.spaces[index].as_mut().ok_or("no process")?;
                self.spaces[*child as usize] = Some(space.fork().map_err(say)?);
                self.heaps[*child as usize] = self.heaps[index];
                return Ok(());
            }
            Action::Final { mapping } => {
                self.finals.entry(process).or_default().push(mapping.clone());
                return Ok(());
            }
            Action::End => return self.end(process),
            _ => {}
        }
        let request = match action {
            Action::Initial { mapping, grows_down, offset } => {
                Some(self.initial(mapping, *grows_down, *offset))
            }
            Action::Map { start, length, permissions, flags, file, offset } => {
                Some(self.mapping(process, *start, *length, *permissions, *flags, *file, *offset))
            }
            _ => None,
        };
        let space = self.spaces[index].as_mut().ok_or("no process")?;
        match action {
            Action::Unmap { start, length } => space.unmap(page(*start), length / PAGE).map_err(say),
            Action::Protect { start, length, permissions } if *length > 0 => {
                space.protect(page(*start), length / PAGE, *permissions).map_err(say)
            }
            Action::Break { old, new } => {
                if !self.heaps[index] {
                    self.heaps[index] = true;
                    space.set_heap(VirtAddr::new(*old));
                }
                space.brk(VirtAddr::new(*new)).map_err(say)
            }
            Action::Remap { old, old_length, new_length, new, .. } => {
                let count = NonZero::new(new_length / PAGE).ok_or("no pages")?;
                let to = if new == old { Move::Never } else { Move::To(page(*new)) };
                space.remap(page(*old), old_length / PAGE, count, to).map(|_| ()).map_err(say)
            }
            Action::Advise { start, length, advice } if *length > 0 => {
                let advice = match advice {
                    4 => Advice::DontNeed,
                    8 => Advice::Free,
                    14 => Advice::Huge,
                    15 => Advice::NoHuge,
                    _ => return Ok(()),
                };
                space.advise(page(*start), length / PAGE, advice).map_err(say)
            }
            Action::Fault { address, access, .. } => self.fault(process, VirtAddr::new(*address), *access),
            // The fault that follows makes the stack grow by itself.
            Action::GrowStack { .. } => Ok(()),
            _ => match request {
                Some(request) => space.map(request).map(|_| ()).map_err(say),
                None => Ok(()),
            },
        }
    }

    fn initial(&mut self, mapping: &Mapping, grows_down: bool, offset: u64) -> MapRequest {
        let count = NonZero::new((mapping.end - mapping.start) / PAGE).unwrap_or(NonZero::<u64>::MIN);
        let mut flags = if mapping.shared { AreaFlags::SHARED } else { AreaFlags::empty() };
        if grows_down {
            flags |= AreaFlags::GROWS_DOWN;
        }
        let named = mapping.name != "-" && mapping.name != "[stack]" && mapping.name != "[heap]";
        let backing = if named || mapping.shared {
            Backing::Object { id: self.object(mapping.name.clone()), offset: offset / PAGE }
        } else {
            Backing::Anonymous
        };
        let place = Place::Fixed(Page::new(mapping.start / PAGE));
        MapRequest::anonymous(count, mapping.permissions).at(place).over(backing).with(flags)
    }

    /// The trace does not say which file a descriptor is. The first mapping of a file begins at 0 and is as long as all of
    /// it, so files of one length are taken for one; what is mapped over it by the same descriptor is of the same file.
    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn mapping(
        &mut self,
        process: u32,
        start: u64,
        length: u64,
        permissions: Permissions,
        flags: u64,
        file: i64,
        offset: u64,
    ) -> MapRequest {
        const SHARED: u64 = 1;
        const FIXED: u64 = 0x10;
        const ANONYMOUS: u64 = 0x20;
        const GROWS_DOWN: u64 = 0x100;
        let count = NonZero::new(length / PAGE).unwrap_or(NonZero::<u64>::MIN);
        let mut area = if flags & SHARED != 0 { AreaFlags::SHARED } else { AreaFlags::empty() };
        if flags & GROWS_DOWN != 0 {
            area |= AreaFlags::GROWS_DOWN;
        }
        let backing = if flags & ANONYMOUS == 0 {
            if offset == 0 && flags & FIXED == 0 || !self.files.contains_key(&(process, file)) {
                let id = self.object(format!("{length:x}"));
                self.files.insert((process, file), id.0.get());
            }
            let id = ObjectId::new(self.files[&(process, file)]).expect("counted from 1");
            Backing::Object { id, offset: offset / PAGE }
        } else if flags & SHARED != 0 {
            let id = self.object(format!("shared memory {}", self.names.len()));
            Backing::Object { id, offset: 0 }
        } else {
            Backing::Anonymous
        };
        let place = Place::Fixed(Page::new(start / PAGE));
        MapRequest::anonymous(count, permissions).at(place).over(backing).with(area)
    }

    /// The program needs this access: what the tables do not permit is a fault, and then they must.
    fn fault(&mut self, process: u32, address: VirtAddr, access: Access) -> Result<(), String> {
        self.found.recorded += 1;
        let machine = self.machine;
        let space = self.spaces[process as usize].as_mut().ok_or("no process")?;
        let at = |space: &Space<'m>| walk::<F>(&machine.window, space.table().root(), address, access);
        if at(space).is_none() {
            let handled = if let Some(ticks) = &mut self.ticks {
                let begin = clock::begin();
                let handled = space.handle_fault(address, access);
                let passed = u32::try_from(clock::end() - begin).unwrap_or(u32::MAX);
                match ticks.get_mut(self.handled) {
                    Some(least) => *least = passed.min(*least),
                    None => ticks.push(passed),
                }
                handled
            } else {
                space.handle_fault(address, access)
            };
            self.handled += 1;
            match handled {
                Ok(Handled::Mapped { how, pages, .. }) => {
                    *self.found.how.entry(how).or_default() += 1;
                    self.found.around += if how == How::Object { pages - 1 } else { 0 };
                }
                Ok(other) => return Err(format!("the fault was {other:?}")),
                Err(fault) => return Err(fault.to_string()),
            }
            if at(space).is_none() {
                return Err(format!("{access} at {address} faults again"));
            }
        }
        Ok(())
    }

    /// Which page a fault is about, for the policies.
    fn reference(&self, process: u32, address: u64) -> Option<u64> {
        let page = Page::new(address / PAGE);
        let area = self.spaces[process as usize].as_ref()?.areas().find(page)?;
        Some(match area.backing() {
            Backing::Object { id, offset } => {
                (id.0.get() << 48) | (offset + page.number() - area.first().number())
            }
            _ => 1 << 63 | u64::from(process) << 40 | page.number(),
        })
    }

    /// The areas must be those that the kernel listed: runs of equal rights, joined.
    fn end(&mut self, process: u32) -> Result<(), String> {
        let Some(space) = self.spaces[process as usize].take() else { return Err("no process".into()) };
        let joined = |runs: &mut dyn Iterator<Item = (u64, u64, Permissions)>| {
            let mut all: Vec<(u64, u64, Permissions)> = vec![];
            for run in runs {
                match all.last_mut() {
                    Some(last) if last.1 == run.0 && last.2 == run.2 => last.1 = run.1,
                    _ => all.push(run),
                }
            }
            all
        };
        let areas = space.areas().iter();
        let ours =
            joined(&mut areas.map(|a| (a.first().number() * PAGE, a.end().number() * PAGE, a.permissions())));
        let mut result = space.check_invariants().map_err(|violation| violation.to_string());
        // Not in timed passes.
        for area in space.areas().iter().filter(|_| self.looks) {
            let usage = space.usage(&area);
            self.found.at_end.0 += usage.resident;
            self.found.at_end.1 += usage.huge;
        }
        self.found.huge += space.counts().huge;
        self.found.promoted += space.counts().promoted;
        space.destroy();
        if let Some(finals) = self.finals.remove(&process) {
            let theirs = joined(&mut finals.iter().map(|m| (m.start, m.end, m.permissions)));
            if let Some(odd) = ours.iter().find(|run| !theirs.contains(run)) {
                result = Err(format!("{:x}-{:x} {} is not in the kernel's list", odd.0, odd.1, odd.2));
            } else if let Some(odd) = theirs.iter().find(|run| !ours.contains(run)) {
                result = Err(format!("{:x}-{:x} {} of the kernel's list is missing", odd.0, odd.1, odd.2));
            }
        }
        result
    }

    fn resident(&self) -> u64 {
        self.spaces.iter().flatten().map(Space::resident).sum()
    }

    /// Gives everything back; how many frames are not.
    fn close(&mut self) -> u64 {
        self.spaces.iter_mut().filter_map(Option::take).for_each(Space::destroy);
        self.machine.drop_cache();
        self.machine.used().0 - u64::from(self.settings.zero_frame.is_some())
    }
}

/// Samples of a replay.
const SAMPLES: usize = 240;

/// Replays a trace and looks at everything.
#[must_use]
pub fn check(trace: &VmTrace, choice: &Choice, memory: &mut Memory) -> Checked {
    with_machine(memory, |machine| checked(trace, choice, machine))
}

fn checked(trace: &VmTrace, choice: &Choice, machine: &Machine<Buddy, DirectMap>) -> Checked {
    let mut replay = Replay::new(machine, trace, choice);
    replay.looks = true;
    let every = (trace.ops.len() / SAMPLES).max(1);
    for (nth, op) in trace.ops.iter().enumerate() {
        if let Action::Fault { address, .. } = op.action {
            let reference = replay.reference(op.process, address);
            replay.found.references.extend(reference);
        }
        if let Err(difference) = replay.step(op.process, &op.action) {
            replay.found.differences.push(format!("record {nth}, process {}: {difference}", op.process));
        }
        let resident = replay.resident();
        replay.found.resident_peak = replay.found.resident_peak.max(resident);
        if nth % every == 0 {
            replay.found.samples.push(resident);
            let tables = replay.spaces.iter().flatten().map(|space| space.table().tables()).sum();
            replay.found.tables_peak = replay.found.tables_peak.max(tables);
        }
    }
    let left = replay.close();
    if left != 0 {
        replay.found.differences.push(format!("{left} frames were not given back"));
    }
    if machine.users() != 0 || machine.slots() != 0 {
        replay.found.differences.push(format!("{} references were not given up", machine.users()));
    }
    let mut found = replay.found;
    found.handled = replay.handled as u64;
    found.frames_peak = machine.used().1;
    found
}

/// Replays a trace as fast as it goes: nanoseconds of thread time for all of it.
#[must_use]
pub(super) fn timed(trace: &VmTrace, choice: &Choice, memory: &mut Memory) -> f64 {
    with_machine(memory, |machine| {
        let mut replay = Replay::new(machine, trace, choice);
        let begin = clock::thread_ns();
        for op in &trace.ops {
            let _ = replay.step(op.process, &op.action);
        }
        replay.close();
        (clock::thread_ns() - begin) as f64
    })
}

/// Replays a trace and times each fault: the least ticks of this pass and those before.
pub(super) fn latency(trace: &VmTrace, choice: &Choice, memory: &mut Memory, ticks: &mut Vec<u32>) {
    with_machine(memory, |machine| {
        let mut replay = Replay::new(machine, trace, choice);
        replay.ticks = Some(core::mem::take(ticks));
        for op in &trace.ops {
            let _ = replay.step(op.process, &op.action);
        }
        replay.close();
        *ticks = replay.ticks.take().unwrap_or_default();
    });
}
