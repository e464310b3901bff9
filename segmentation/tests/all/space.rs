//! Spaces of processes: the worked example, then random operations against plain byte vectors.
use core::convert::Infallible;
use core::num::NonZero;
use std::collections::BTreeMap;

use hectare_buddy::{Banks, Engine, Rows64, words_for};
use hectare_core::{
    Access, AllocError, CheckInvariants, Extent, Frame, FrameRun, FreeError, Order, Permissions,
    PlacedRangeSource, RangeRequest, RangeSource,
};
use hectare_fit::policy::{BestFit, FirstFit, NextFit, Policy, WorstFit};
use hectare_fit::range::{RangeAllocator, Vecs};
use hectare_segmentation::{
    Absence, Cause, Goal, Memory, NewSegment, ProcessId, SegmentNumber, SpaceError, Spaces,
};
use hectare_testkit::stand_in::NaiveRanges;
use proptest::prelude::*;

const RW: Permissions = Permissions::READ.union(Permissions::WRITE).union(Permissions::USER);
const RO: Permissions = Permissions::READ.union(Permissions::USER);

/// Memory as bytes, which counts what is copied.
struct Bytes {
    bytes: Vec<u8>,
    copied: u64,
}

impl Bytes {
    fn new(length: usize) -> Self {
        Self { bytes: vec![0xEE; length], copied: 0 }
    }
}

impl Memory for Bytes {
    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        self.bytes.copy_within(from as usize..(from + bytes) as usize, to as usize);
        self.copied += bytes;
    }

    fn zero(&mut self, place: Extent) {
        self.bytes[place.start() as usize..place.end() as usize].fill(0);
    }
}

fn some(count: u64) -> NonZero<u64> {
    NonZero::new(count).expect("not zero")
}

fn naive(length: u64) -> NaiveRanges {
    NaiveRanges::new(Extent::new(0, length).expect("not empty"))
}

type Small<R> = Spaces<R, 3, 5, 8>;

/// One byte, through the process's own segment table.
fn byte<R: RangeSource>(
    spaces: &Small<R>,
    memory: &Bytes,
    process: ProcessId,
    segment: SegmentNumber,
    offset: u64,
) -> Result<u8, Cause> {
    let address = spaces.translate(process, segment, offset, 1, Access::user_read()).expect("a process");
    address.map(|address| memory.bytes[address.value() as usize]).map_err(|fault| fault.cause)
}

fn write<R: RangeSource>(
    spaces: &Small<R>,
    memory: &mut Bytes,
    process: ProcessId,
    segment: SegmentNumber,
    offset: u64,
    value: u8,
) -> bool {
    let address = spaces.translate(process, segment, offset, 1, Access::user_write()).expect("a process");
    address.map(|address| memory.bytes[address.value() as usize] = value).is_ok()
}

/// Two processes placed by first fit; one exits; memory is compacted; every (segment, offset) reads the same bytes.
#[test]
fn an_exit_and_a_compaction_keep_every_byte() {
    let mut memory = Bytes::new(0x1000);
    let mut spaces = Small::new(naive(0x1000));
    let (a, b) = (spaces.spawn().expect("room"), spaces.spawn().expect("room"));
    let create = |spaces: &mut Small<_>, memory: &mut Bytes, process, length| {
        spaces.create(process, NewSegment::up(some(length), RW), memory).expect("room")
    };
    let a0 = create(&mut spaces, &mut memory, a, 0x100);
    let b0 = create(&mut spaces, &mut memory, b, 0x180);
    create(&mut spaces, &mut memory, a, 0x200);
    let b1 = create(&mut spaces, &mut memory, b, 0x80);
    for (segment, length) in [(b0, 0x180), (b1, 0x80)] {
        for offset in 0..length {
            assert!(write(
                &spaces,
                &mut memory,
                b,
                segment,
                offset,
                (offset * 7 + u64::from(segment.value())) as u8
            ));
        }
    }
    let register = spaces.table(b).expect("lives").load(b0, Access::user_read()).expect("present");
    assert_eq!(a0, SegmentNumber::new(0));
    spaces.exit(a).expect("lives");
    assert_eq!(spaces.source().holes().len(), 3);

    let done = spaces.compact(0, Goal::OneHole, u64::MAX, &mut memory).expect("an honest source");
    assert_eq!((done.moved, done.finished), (0x200, true), "both segments of B, nothing else");
    assert_eq!(spaces.source().holes(), [Extent::new(0x200, 0xE00).expect("one hole")]);
    assert!(!spaces.table(b).expect("lives").is_current(&register), "the register from before is stale");
    for (segment, length) in [(b0, 0x180), (b1, 0x80)] {
        for offset in 0..length {
            let expected = (offset * 7 + u64::from(segment.value())) as u8;
            assert_eq!(byte(&spaces, &memory, b, segment, offset), Ok(expected));
        }
    }
}

#[test]
fn a_compaction_in_steps_never_exceeds_its_budget() {
    let mut memory = Bytes::new(0x400);
    let mut spaces = Small::new(naive(0x400));
    let a = spaces.spawn().expect("room");
    let first = spaces.create(a, NewSegment::up(some(0x20), RW), &mut memory).expect("room");
    let second = spaces.create(a, NewSegment::up(some(0x90), RW), &mut memory).expect("room");
    assert!(write(&spaces, &mut memory, a, second, 0x8F, 77));
    spaces.remove(a, first).expect("there");
    let step = |spaces: &mut Small<_>, memory: &mut Bytes| {
        spaces.compact(0, Goal::OneHole, 0x40, memory).expect("honest")
    };
    let one = step(&mut spaces, &mut memory);
    assert_eq!((one.moved, one.finished), (0x40, false));
    assert_eq!(byte(&spaces, &memory, a, second, 0), Err(Cause::NotPresent(Absence::Moving)));
    assert_eq!(spaces.pin(a, second), Err(SpaceError::NotPresent(Absence::Moving)));
    spaces.check_invariants().expect("holds in the middle of a move");
    assert_eq!(step(&mut spaces, &mut memory).moved, 0x40);
    let last = step(&mut spaces, &mut memory);
    assert_eq!((last.moved, last.finished), (0x10, true));
    assert_eq!(byte(&spaces, &memory, a, second, 0x8F), Ok(77));
    assert_eq!(memory.copied, 0x90);
}

#[test]
fn a_process_may_exit_while_its_segment_moves() {
    let mut memory = Bytes::new(0x400);
    let mut spaces = Small::new(naive(0x400));
    let a = spaces.spawn().expect("room");
    let first = spaces.create(a, NewSegment::up(some(0x20), RW), &mut memory).expect("room");
    spaces.create(a, NewSegment::up(some(0x90), RW), &mut memory).expect("room");
    spaces.remove(a, first).expect("there");
    let step = spaces.compact(0, Goal::OneHole, 0x10, &mut memory).expect("honest");
    assert!(!step.finished);
    spaces.exit(a).expect("lives");
    assert_eq!(spaces.source().holes(), [Extent::new(0, 0x400).expect("all of it")]);
    let rest = spaces.compact(0, Goal::OneHole, 0x10, &mut memory).expect("honest");
    assert_eq!((rest.moved, rest.finished), (0, true));
}

#[test]
fn compaction_stops_when_a_request_fits() {
    let mut memory = Bytes::new(0x400);
    let mut spaces = Small::new(naive(0x400));
    let a = spaces.spawn().expect("room");
    let segments: Vec<_> = (0..4)
        .map(|_| spaces.create(a, NewSegment::up(some(0x100), RW), &mut memory).expect("room"))
        .collect();
    spaces.remove(a, segments[0]).expect("there");
    spaces.remove(a, segments[2]).expect("there");
    let goal = Goal::Fit(RangeRequest::new(some(0x200)));
    let done = spaces.compact(0, goal, u64::MAX, &mut memory).expect("honest");
    assert_eq!((done.moved, done.finished), (0x100, true), "one of the two segments is enough");
}

#[test]
fn a_pinned_segment_is_a_barrier() {
    let mut memory = Bytes::new(0x400);
    let mut spaces = Small::new(naive(0x400));
    let a = spaces.spawn().expect("room");
    let segments: Vec<_> = (0..4)
        .map(|_| spaces.create(a, NewSegment::up(some(0x80), RW), &mut memory).expect("room"))
        .collect();
    spaces.pin(a, segments[1]).expect("present");
    assert_eq!(spaces.remove(a, segments[1]), Err(SpaceError::Pinned));
    assert_eq!(spaces.resize(a, segments[1], some(0x90), &mut memory), Err(SpaceError::Pinned));
    assert_eq!(
        spaces.swap_out(a, segments[1], 0, |_| Ok::<(), Infallible>(())).map_err(|error| error.to_string()),
        Err(SpaceError::Pinned.to_string())
    );
    spaces.remove(a, segments[0]).expect("there");
    spaces.remove(a, segments[2]).expect("there");
    let done = spaces.compact(0, Goal::OneHole, u64::MAX, &mut memory).expect("honest");
    assert_eq!((done.moved, done.finished), (0x80, true));
    let start = |segment| spaces.table(a).expect("lives").get(segment).expect("there").start().value();
    assert_eq!((start(segments[1]), start(segments[3])), (0x80, 0x100));
    spaces.unpin(a, segments[1]).expect("pinned");
    assert_eq!(spaces.unpin(a, segments[1]), Err(SpaceError::NotPinned));
}

#[test]
fn what_the_source_holds_for_others_is_not_run_over() {
    let mut memory = Bytes::new(0x400);
    let mut source = naive(0x400);
    source.allocate_range_at(Extent::new(0x40, 0x10).expect("not empty")).expect("free");
    let mut spaces = Small::new(source);
    let a = spaces.spawn().expect("room");
    let segment = spaces.create(a, NewSegment::up(some(0x80), RW), &mut memory).expect("room");
    let done = spaces.compact(0, Goal::OneHole, u64::MAX, &mut memory).expect("honest");
    assert_eq!((done.moved, done.finished), (0, true), "the range in between is the user's own business");
    assert_eq!(spaces.table(a).expect("lives").get(segment).expect("there").start().value(), 0x50);
}

#[test]
fn first_touch() {
    let mut memory = Bytes::new(0x100);
    let mut spaces = Small::new(naive(0x100));
    let a = spaces.spawn().expect("room");
    let stack = spaces.create_unallocated(a, NewSegment::down(some(0x10), 0xFFFF, RW)).expect("room");
    assert_eq!(byte(&spaces, &memory, a, stack, 0xFFF0), Err(Cause::NotPresent(Absence::Unallocated)));
    spaces.allocate(a, stack, &mut memory).expect("room");
    assert_eq!(byte(&spaces, &memory, a, stack, 0xFFF0), Ok(0));
    assert_eq!(spaces.allocate(a, stack, &mut memory), Err(SpaceError::Present));
    assert!(write(&spaces, &mut memory, a, stack, 0xFFFF, 9));
    spaces.resize(a, stack, some(0x30), &mut memory).expect("room");
    assert_eq!(byte(&spaces, &memory, a, stack, 0xFFFF), Ok(9), "a stack keeps its top");
    assert_eq!(byte(&spaces, &memory, a, stack, 0xFFD0), Ok(0));
    let too_long = NewSegment::down(some(0x1_0001), 0xFFFF, RW);
    assert!(matches!(spaces.create(a, too_long, &mut memory), Err(SpaceError::Segment(_))));
}

#[test]
fn a_failed_load_leaves_the_segment_swapped() {
    let mut memory = Bytes::new(0x100);
    let mut spaces = Small::new(naive(0x100));
    let a = spaces.spawn().expect("room");
    let segment = spaces.create(a, NewSegment::up(some(0x10), RW), &mut memory).expect("room");
    spaces.swap_out(a, segment, 4, |_| Err("disk full")).expect_err("the store failed");
    assert_eq!(byte(&spaces, &memory, a, segment, 0), Ok(0), "still present");
    spaces.swap_out(a, segment, 4, |_| Ok::<(), Infallible>(())).expect("saved");
    spaces.swap_in(a, segment, |_, _| Err("bad sector")).expect_err("the store failed");
    assert_eq!(byte(&spaces, &memory, a, segment, 0), Err(Cause::NotPresent(Absence::Swapped(4))));
    assert_eq!(spaces.source().holes().len(), 1, "no place is lost");
    spaces.check_invariants().expect("nothing was changed");
}

/// The model: each object's bytes, and which object each process's segment is.
#[derive(Default)]
struct Model {
    objects: BTreeMap<u32, (Vec<u8>, bool)>,
    links: BTreeMap<(usize, u32), (u32, bool)>,
    next: u32,
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize, u64, u64),
    Share(usize, u32, usize, bool),
    Remove(usize, u32),
    Resize(usize, u32, u64),
    Write(usize, u32, u64, u8),
    SwapOut(usize, u32),
    SwapIn(usize, u32),
    Pin(usize, u32),
    Unpin(usize, u32),
    Exit(usize),
    Compact(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (process, segment) = (0_usize..3, 0_u32..5);
    let at = (process.clone(), segment);
    prop_oneof![
        4 => (process.clone(), 1_u64..80, 0_u32..5).prop_map(|(p, length, align)| Op::Create(p, length, 1 << align)),
        2 => (at.clone(), process.clone(), any::<bool>()).prop_map(|((p, s), to, w)| Op::Share(p, s, to, w)),
        2 => at.clone().prop_map(|(p, s)| Op::Remove(p, s)),
        2 => (at.clone(), 1_u64..80).prop_map(|((p, s), length)| Op::Resize(p, s, length)),
        6 => (at.clone(), 0_u64..80, any::<u8>()).prop_map(|((p, s), offset, value)| Op::Write(p, s, offset, value)),
        1 => at.clone().prop_map(|(p, s)| Op::SwapOut(p, s)),
        2 => at.clone().prop_map(|(p, s)| Op::SwapIn(p, s)),
        1 => at.clone().prop_map(|(p, s)| Op::Pin(p, s)),
        2 => at.prop_map(|(p, s)| Op::Unpin(p, s)),
        1 => process.prop_map(Op::Exit),
        3 => (0_u64..120).prop_map(Op::Compact),
    ]
}

/// Whatever the operations: each process reads what it wrote, and what it shares, and nothing else changes.
fn contents_stay<R: PlacedRangeSource>(source: R, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut memory = Bytes::new(0x200);
    let mut spaces = Small::new(source);
    let ids: Vec<_> = (0..3).map(|_| spaces.spawn().expect("room")).collect();
    let mut model = Model::default();
    let mut store: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for op in ops {
        let number = SegmentNumber::new;
        match *op {
            Op::Create(p, length, align) => {
                let new = NewSegment { align: some(align), ..NewSegment::up(some(length), RW) };
                if let Ok(segment) = spaces.create(ids[p], new, &mut memory) {
                    let start =
                        spaces.table(ids[p]).and_then(|table| table.get(segment)).expect("there").start();
                    prop_assert_eq!(start.value() % align, 0);
                    model.objects.insert(model.next, (vec![0; length as usize], true));
                    model.links.insert((p, segment.value()), (model.next, true));
                    model.next += 1;
                }
            }
            Op::Share(p, s, to, writable) => {
                let done = spaces.share((ids[p], number(s)), ids[to], if writable { RW } else { RO });
                match model.links.get(&(p, s)).copied() {
                    Some((object, _)) => {
                        if let Ok(segment) = done {
                            model.links.insert((to, segment.value()), (object, writable));
                        }
                    }
                    None => prop_assert!(done.is_err()),
                }
            }
            Op::Remove(p, s) => {
                if spaces.remove(ids[p], number(s)).is_ok() {
                    prop_assert!(model.links.remove(&(p, s)).is_some());
                }
            }
            Op::Resize(p, s, length) => {
                if spaces.resize(ids[p], number(s), some(length), &mut memory).is_ok() {
                    let (object, _) = model.links[&(p, s)];
                    model.objects.get_mut(&object).expect("linked").0.resize(length as usize, 0);
                }
            }
            Op::Write(p, s, offset, value) => {
                let wrote = write(&spaces, &mut memory, ids[p], number(s), offset, value);
                if let Some(&(object, writable)) = model.links.get(&(p, s)) {
                    let bytes = &mut model.objects.get_mut(&object).expect("linked").0;
                    prop_assert!(!wrote || writable);
                    if wrote {
                        bytes[offset as usize] = value;
                    }
                } else {
                    prop_assert!(!wrote);
                }
            }
            Op::SwapOut(p, s) => {
                let slot = model.links.get(&(p, s)).map_or(99, |link| link.0);
                let save = |place: Extent| {
                    store.insert(slot, memory.bytes[place.start() as usize..place.end() as usize].to_vec());
                    memory.bytes[place.start() as usize..place.end() as usize].fill(0xEE);
                    Ok::<(), Infallible>(())
                };
                if spaces.swap_out(ids[p], number(s), slot, save).is_ok() {
                    model.objects.get_mut(&slot).expect("linked").1 = false;
                }
            }
            Op::SwapIn(p, s) => {
                let load = |slot: u32, place: Extent| {
                    memory.bytes[place.start() as usize..place.end() as usize].copy_from_slice(&store[&slot]);
                    Ok::<(), Infallible>(())
                };
                if spaces.swap_in(ids[p], number(s), load).is_ok() {
                    model.objects.get_mut(&model.links[&(p, s)].0).expect("linked").1 = true;
                }
            }
            Op::Pin(p, s) => drop(spaces.pin(ids[p], number(s))),
            Op::Unpin(p, s) => drop(spaces.unpin(ids[p], number(s))),
            Op::Exit(p) => {
                spaces.exit(ids[p]).expect("lives");
                prop_assert_eq!(spaces.spawn(), Ok(ids[p]));
                model.links.retain(|&(process, _), _| process != p);
            }
            Op::Compact(budget) => {
                let before = memory.copied;
                let done = spaces.compact(0, Goal::OneHole, budget, &mut memory).expect("an honest source");
                prop_assert_eq!(done.moved, memory.copied - before);
                prop_assert!(done.moved <= budget);
            }
        }
        prop_assert_eq!(spaces.check_invariants(), Ok(()));
        for (&(p, s), &(object, _)) in &model.links {
            let (bytes, present) = &model.objects[&object];
            for (offset, &expected) in bytes.iter().enumerate() {
                match byte(&spaces, &memory, ids[p], number(s), offset as u64) {
                    Ok(value) => {
                        prop_assert!(*present && value == expected, "{op:?}: ({p}, {s}) at {offset}")
                    }
                    Err(Cause::NotPresent(Absence::Moving)) => prop_assert!(*present),
                    Err(cause) => prop_assert_eq!(
                        (cause, *present),
                        (Cause::NotPresent(Absence::Swapped(object)), false)
                    ),
                }
            }
            let beyond = byte(&spaces, &memory, ids[p], number(s), bytes.len() as u64);
            prop_assert!(beyond.is_err(), "the first byte outside");
        }
    }
    Ok(())
}

/// A buddy system over units of a byte. It rounds up to powers of two, but takes exactly what it is told to take.
struct Buddy(Engine<'static, Rows64>);

impl Buddy {
    fn new() -> Self {
        let mut banks = Banks::new(Box::leak(Box::new([None; 2])));
        banks.add(FrameRun::new(Frame::new(0), 0x200).expect("not empty")).expect("room");
        let words = words_for::<Rows64>(banks.span().expect("a bank")).expect("small");
        Self(Engine::new(banks, vec![0; words].leak()).expect("enough words"))
    }
}

fn run(extent: Extent) -> FrameRun {
    FrameRun::new(Frame::new(extent.start()), extent.length()).expect("not empty")
}

impl RangeSource for Buddy {
    fn allocate_range(&mut self, request: RangeRequest) -> Result<Extent, AllocError> {
        let size = request.length.max(request.align).get().next_power_of_two();
        let order = Order::new(size.trailing_zeros() as u8).ok_or(AllocError::TooLarge)?;
        Ok(Extent::new(self.0.allocate_order(order)?.number(), size).expect("not empty"))
    }

    fn free_range(&mut self, extent: Extent) -> Result<(), FreeError> {
        self.0.free(run(extent))
    }
}

impl PlacedRangeSource for Buddy {
    fn allocate_range_at(&mut self, extent: Extent) -> Result<(), AllocError> {
        self.0.allocate_at(run(extent))
    }
}

fn fit<P: Policy>(ops: &[Op]) -> Result<(), TestCaseError> {
    let source = RangeAllocator::<P, u64, _>::new(0x200, Vecs::by_start()).expect("not empty");
    contents_stay(source, ops)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn contents_stay_with_naive(ops in prop::collection::vec(op(), 0..60)) {
        contents_stay(naive(0x200), &ops)?;
    }
    #[test]
    fn contents_stay_with_a_buddy_system(ops in prop::collection::vec(op(), 0..60)) {
        contents_stay(Buddy::new(), &ops)?;
    }
    #[test]
    fn contents_stay_with_first_fit(ops in prop::collection::vec(op(), 0..60)) {
        fit::<FirstFit>(&ops)?;
    }
    #[test]
    fn contents_stay_with_best_fit(ops in prop::collection::vec(op(), 0..60)) {
        fit::<BestFit>(&ops)?;
    }
    #[test]
    fn contents_stay_with_next_fit(ops in prop::collection::vec(op(), 0..60)) {
        fit::<NextFit>(&ops)?;
    }
    #[test]
    fn contents_stay_with_worst_fit(ops in prop::collection::vec(op(), 0..60)) {
        fit::<WorstFit>(&ops)?;
    }
}
