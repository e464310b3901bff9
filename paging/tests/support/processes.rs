//! Address spaces under test: up to four processes of one machine.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::Attributes;
use hectare_paging::space::index::Direction;
use hectare_paging::space::{
    AddressSpace, Advice, AreaFlags, Backing, Cause, HugePages, MapRequest, Move, ObjectId, Place, Promoted,
    Settings, Signal, SpaceError, SpaceFault,
};
use hectare_paging::table::TableFormat;
use hectare_testkit::drive::Model;
use hectare_testkit::drive::vm::{OBJECT, Refusal, SpacesUnderTest, Stop, Stretch, VmModel, original};
use hectare_testkit::op::VmOp;
use hectare_testkit::op::vm::{self, What, Where};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

use super::machine::{Handle, Machine, access};

type Frames = PlainFrames<12>;
type Kernel<'m> = Handle<'m, Frames, ArenaWindow>;

/// Pages for maps.
pub const SPACE: u64 = 320;
/// Pages of the heap, behind them.
pub const HEAP: u64 = 64;
/// The number of the first page.
const BASE: u64 = 0;

/// A machine with so many frames.
#[must_use]
pub fn machine(frames: u64) -> Machine<Frames, ArenaWindow> {
    let source = PlainFrames::new(64, frames);
    let (window, all) = (source.window(), source.all());
    let mut machine = Machine::new(source, window, all);
    machine.cache.length.set(OBJECT);
    machine.cache.fill = |id, page, bytes| {
        bytes.fill(0);
        for (cell, at) in [0, bytes.len() - 8].into_iter().enumerate() {
            bytes[at..at + 8].copy_from_slice(&original(id as u8 - 1, page, cell).to_le_bytes());
        }
    };
    machine
}

/// Address spaces of up to four processes.
pub struct Processes<'m, F: TableFormat> {
    machine: &'m Machine<Frames, ArenaWindow>,
    settings: Settings,
    spaces: [Option<AddressSpace<F, Kernel<'m>>>; 4],
    /// Frames that are taken when no process lives.
    idle: u64,
}

fn refusal(error: SpaceError) -> Refusal {
    match error {
        SpaceError::Nodes(_) | SpaceError::Frames(_) | SpaceError::Users(_) => Refusal::Memory,
        other => Refusal::Rule(other.to_string()),
    }
}

fn rights(bits: u8) -> Permissions {
    Permissions::from_bits_retain(bits)
}

impl<'m, F: TableFormat> Processes<'m, F> {
    fn new(machine: &'m Machine<Frames, ArenaWindow>, settings: Settings) -> Self {
        let idle = machine.used().0;
        Self { machine, settings, spaces: [const { None }; 4], idle }
    }

    fn space(&mut self, process: u8) -> &mut AddressSpace<F, Kernel<'m>> {
        self.spaces[usize::from(process)].as_mut().unwrap()
    }

    fn touch(&mut self, process: u8, page: u64, cell: usize, value: Option<u64>) -> Result<u64, Stop> {
        let at = if cell == 0 { 0 } else { 4088 };
        let address = VirtAddr::new(((BASE + page) << 12) + at);
        let kind = if value.is_some() { Access::user_write() } else { Access::user_read() };
        let stop = |fault: SpaceFault| match (fault.cause.signal(), fault.cause) {
            (Signal::OutOfMemory, _) => Stop::Memory,
            (Signal::Bus, _) => Stop::Bus,
            (Signal::Segmentation, Cause::Tables) => Stop::Other(fault.to_string()),
            (Signal::Segmentation, _) => Stop::Segmentation,
        };
        let (place, _) = access(self.space(process), address, kind).map_err(stop)?;
        let (frame, offset) = place.split(F::PAGE);
        self.machine.bytes(frame, |bytes| {
            let word = &mut bytes[offset as usize..offset as usize + 8];
            if let Some(value) = value {
                word.copy_from_slice(&value.to_le_bytes());
            }
            Ok(u64::from_le_bytes(word.try_into().unwrap()))
        })
    }
}

impl<F: TableFormat> SpacesUnderTest for Processes<'_, F> {
    fn begin(&mut self, process: u8) -> Result<(), Refusal> {
        let mut space = AddressSpace::new(self.machine.kernel(), self.settings).map_err(refusal)?;
        space.set_heap(VirtAddr::new((BASE + SPACE) << 12));
        self.spaces[usize::from(process)] = Some(space);
        Ok(())
    }

    fn exit(&mut self, process: u8) {
        self.spaces[usize::from(process)].take().unwrap().destroy();
    }

    fn fork(&mut self, process: u8, child: u8) -> Result<(), Refusal> {
        let space = self.space(process).fork().map_err(refusal)?;
        self.spaces[usize::from(child)] = Some(space);
        Ok(())
    }

    fn map(
        &mut self,
        process: u8,
        first: u64,
        count: u64,
        bits: u8,
        place: Where,
        what: What,
    ) -> Result<u64, Refusal> {
        let first = Page::new(BASE + first);
        let place = match place {
            Where::Anywhere => Place::Anywhere,
            Where::Hint => Place::Hint(first),
            Where::Fixed => Place::Fixed(first),
            Where::NoReplace => Place::NoReplace(first),
        };
        let request = MapRequest::anonymous(NonZero::new(count).unwrap(), rights(bits)).at(place);
        let request = match what {
            What::Anonymous => request,
            What::Huge => request.with(AreaFlags::HUGE),
            What::Object { id, offset, shared } => {
                let id = ObjectId::new(u64::from(id) + 1).unwrap();
                let flags = if shared { AreaFlags::SHARED } else { AreaFlags::empty() };
                request.over(Backing::Object { id, offset: offset.into() }).with(flags)
            }
        };
        self.space(process).map(request).map(|page| page.number() - BASE).map_err(refusal)
    }

    fn unmap(&mut self, process: u8, first: u64, count: u64) -> Result<(), Refusal> {
        self.space(process).unmap(Page::new(BASE + first), count).map_err(refusal)
    }

    fn protect(&mut self, process: u8, first: u64, count: u64, bits: u8) -> Result<(), Refusal> {
        self.space(process).protect(Page::new(BASE + first), count, rights(bits)).map_err(refusal)
    }

    fn remap(
        &mut self,
        process: u8,
        old: u64,
        old_count: u64,
        new_count: u64,
        to: Option<u64>,
    ) -> Result<u64, Refusal> {
        let to = to.map_or(Move::May, |to| Move::To(Page::new(BASE + to)));
        let new_count = NonZero::new(new_count).unwrap();
        let moved = self.space(process).remap(Page::new(BASE + old), old_count, new_count, to);
        moved.map(|page| page.number() - BASE).map_err(refusal)
    }

    fn brk(&mut self, process: u8, pages: u64) -> Result<(), Refusal> {
        // Somewhere in the last page: the end is a byte.
        let end = ((BASE + SPACE + pages) << 12) - if pages > 0 { 77 } else { 0 };
        self.space(process).brk(VirtAddr::new(end)).map_err(refusal)
    }

    fn advise(&mut self, process: u8, first: u64, count: u64, advice: vm::Advice) -> Result<(), Refusal> {
        let advice = match advice {
            vm::Advice::DontNeed => Advice::DontNeed,
            vm::Advice::Free => Advice::Free,
            vm::Advice::Huge => Advice::Huge,
            vm::Advice::NoHuge => Advice::NoHuge,
        };
        self.space(process).advise(Page::new(BASE + first), count, advice).map_err(refusal)
    }

    fn read(&mut self, process: u8, page: u64, cell: usize) -> Result<u64, Stop> {
        self.touch(process, page, cell, None)
    }

    fn write(&mut self, process: u8, page: u64, cell: usize, value: u64) -> Result<(), Stop> {
        self.touch(process, page, cell, Some(value)).map(|_| ())
    }

    fn harvest(&mut self, process: u8) {
        let mut pages = 0;
        let space = self.space(process);
        let harvested = space.harvest(|visit| {
            assert_eq!(visit.pages.count(), visit.frames.count());
            pages += visit.pages.count();
        });
        match harvested {
            Ok(()) => assert_eq!(pages, space.resident()),
            Err(error) => assert_eq!(refusal(error), Refusal::Memory),
        }
    }

    fn evict(&mut self, process: u8, page: u64) {
        let before = self.space(process).resident();
        let evicted = self.space(process).evict(Page::new(BASE + page));
        assert_eq!(self.space(process).resident(), before - u64::from(evicted.is_ok()));
    }

    fn promote(&mut self, process: u8, page: u64) {
        let space = self.space(process);
        let before = (space.resident(), space.counts().promoted);
        let promoted = space.promote(Page::new(BASE + page));
        let made = matches!(promoted, Ok(Promoted::InPlace | Promoted::Copied));
        assert_eq!((space.resident(), space.counts().promoted), (before.0, before.1 + u64::from(made)));
    }

    fn starve(&mut self, after: Option<u8>) {
        self.machine.ration(after.map(u64::from));
    }

    fn stretches(&self, process: u8) -> Vec<Stretch> {
        let space = self.spaces[usize::from(process)].as_ref().unwrap();
        let stretch = |area: hectare_paging::space::Area| Stretch {
            first: area.first().number() - BASE,
            end: area.end().number() - BASE,
            rights: (area.permissions() - Permissions::USER).bits(),
            shared: area.is_shared(),
        };
        space.areas().iter().map(stretch).collect()
    }

    fn check(&self) -> Result<(), String> {
        self.spaces.iter().flatten().try_for_each(|space| space.check_invariants()).map_err(|v| v.to_string())
    }

    fn check_empty(&mut self) -> Result<(), String> {
        self.machine.drop_cache();
        let (used, slots, users) = (self.machine.used().0, self.machine.slots(), self.machine.users());
        if (used, slots, users) == (self.idle, 0, 0) {
            Ok(())
        } else {
            Err(format!("{} frames, {slots} slots and {users} references are left", used - self.idle))
        }
    }
}

/// Whether reads of untouched memory get a frame of zeros, pages around a read fault, huge pages, places from above.
pub type Choice = (bool, u64, HugePages, bool);

/// Runs `f` with a model of the processes of a machine with so many frames. One process has begun.
pub fn model<F: TableFormat, R>(
    frames: u64,
    (zero, around, huge, down): Choice,
    f: impl FnOnce(&mut VmModel<Processes<'_, F>>) -> R,
) -> R {
    let machine = machine(frames);
    machine.cache.cluster.set(around.clamp(1, 8));
    let window = PageRun::new(Page::new(BASE), SPACE + HEAP).unwrap();
    let settings = Settings {
        fault_around: around,
        huge,
        direction: if down { Direction::TopDown } else { Direction::BottomUp },
        zero_frame: zero.then(|| machine.zero_frame()),
        ..Settings::new(window)
    };
    let mut model = VmModel::new(Processes::<F>::new(&machine, settings), SPACE, HEAP);
    model = model.readable(|bits| {
        let nearest = F::nearest(Attributes::new(rights(bits) | Permissions::USER));
        bits != 0 && nearest.permissions.contains(Permissions::READ)
    });
    if frames < 4 * (SPACE + HEAP) {
        model = model.scarce();
    }
    model.step(VmOp::Begin { process: 0 }).unwrap();
    f(&mut model)
}
