//! Address spaces beside a model without tables: random operations of several processes, with memory that runs out.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::format::{Toy, X86_64};
use hectare_paging::space::index::Direction;
use hectare_paging::space::{
    AddressSpace, Advice, AreaFlags, Backing, Cause, HugePages, MapRequest, Move, ObjectId, Place, Settings,
    Signal, SpaceError, SpaceFault,
};
use hectare_paging::table::TableFormat;
use hectare_testkit::drive::vm::{OBJECT, Refusal, SpacesUnderTest, Stop, Stretch, VmModel, original};
use hectare_testkit::drive::{Model, drive};
use hectare_testkit::op::vm::{self, What, Where};
use hectare_testkit::op::{VmOp, noise};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};
use proptest::prelude::*;

use crate::machine::{Handle, Machine, access};

type Frames = PlainFrames<12>;
type Kernel<'m> = Handle<'m, Frames, ArenaWindow>;

/// Pages for maps, and for the heap.
const SPACE: u64 = 320;
const HEAP: u64 = 64;
/// The number of the first page.
const BASE: u64 = 0;

pub(crate) fn machine(frames: u64) -> Machine<Frames, ArenaWindow> {
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

struct Processes<'m, F: TableFormat> {
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

fn settings(
    zero: bool,
    around: u64,
    huge: HugePages,
    direction: Direction,
    m: &Machine<Frames, ArenaWindow>,
) -> Settings {
    let window = PageRun::new(Page::new(BASE), SPACE + HEAP).unwrap();
    let zero_frame = zero.then(|| m.zero_frame());
    Settings { fault_around: around, huge, direction, zero_frame, ..Settings::new(window) }
}

fn run<F: TableFormat>(
    ops: impl IntoIterator<Item = VmOp>,
    frames: u64,
    check_every: usize,
    (zero, around, huge, down): (bool, u64, HugePages, bool),
) -> Result<hectare_testkit::drive::Counts, hectare_testkit::drive::Failure> {
    let machine = machine(frames);
    machine.cache.cluster.set(around.clamp(1, 8));
    let direction = if down { Direction::TopDown } else { Direction::BottomUp };
    let settings = settings(zero, around, huge, direction, &machine);
    let processes = Processes::<F>::new(&machine, settings);
    let mut model = VmModel::new(processes, SPACE, HEAP);
    if F::nearest(hectare_paging::Attributes::new(Permissions::WRITE | Permissions::USER))
        .permissions
        .contains(Permissions::READ)
    {
        model = model.lenient();
    }
    if frames < 4 * (SPACE + HEAP) {
        model = model.scarce();
    }
    model.step(VmOp::Begin { process: 0 }).unwrap();
    drive(&mut model, ops, check_every)
}

fn huge() -> impl Strategy<Value = HugePages> {
    prop_oneof![Just(HugePages::Never), Just(HugePages::Advised), Just(HugePages::Always)]
}

proptest! {
    #[test]
    fn several_processes_read_what_they_wrote(
        ops in prop::collection::vec(vm::strategy(SPACE as u16), 1..250),
        zero: bool, around in prop_oneof![Just(1_u64), Just(4), Just(16)], huge in huge(), down: bool,
    ) {
        let choice = (zero, around, huge, down);
        prop_assert_eq!(run::<Toy<3, 3, 0>>(ops.clone(), 2400, 7, choice).map(|_| ()), Ok(()));
        prop_assert_eq!(run::<X86_64<4>>(ops, 2400, 31, choice).map(|_| ()), Ok(()));
    }
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_hundred_thousand_operations_with_little_memory() {
    let mut counts = (0, 0, 0);
    for (seed, choice) in (1..).zip([
        (true, 16, HugePages::Always, true),
        (false, 1, HugePages::Never, false),
        (true, 4, HugePages::Advised, true),
        (false, 16, HugePages::Always, false),
    ]) {
        let bytes = noise(seed, 250_000);
        let ops: Vec<VmOp> =
            hectare_testkit::op::decode_all(&bytes, |bytes| VmOp::decode(bytes, SPACE as u16)).collect();
        assert!(ops.len() > 25_000, "{}", ops.len());
        let found = run::<Toy<3, 3, 0>>(ops, 400, 997, choice).unwrap_or_else(|failure| panic!("{failure}"));
        counts = (counts.0 + found.allocated, counts.1 + found.refused, counts.2 + found.freed);
    }
    assert!(counts.0 > 5_000 && counts.1 > 500 && counts.2 > 500, "{counts:?}");
}
