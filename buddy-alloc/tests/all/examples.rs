//! The examples that every reader of a textbook knows, and one of each request.

use core::num::NonZero;

use hectare_buddy::{Banks, DMA_LIMIT, DMA32_LIMIT, Engine, MapEntry, Request, Rows64, words_for};
use hectare_core::{
    AllocError, CheckInvariants, Figures, Frame, FrameRun, FreeError, Order, PageSize, Ratio,
};
use hectare_core::{PhysAddr, RegionError};

use crate::support::{Memory, frames, order, run};

/// The frame at a physical address of 4 KiB frames.
fn at(address: u64) -> Frame {
    let (page, offset) = PhysAddr::new(address).split(PageSize::SIZE_4K);
    assert_eq!(offset, 0);
    page
}

#[test]
fn e08_internal_fragmentation() {
    // Fixed units: 1000 bytes in one frame of 4096.
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0x100, 64)], 0);
    let taken = engine.allocate(Request::exactly(frames(1000u64.div_ceil(4096)))).unwrap();
    let granted = taken.count() * PageSize::SIZE_4K.bytes();
    assert_eq!(granted - 1000, 3096);
    assert_eq!(Ratio::new(granted - 1000, granted), Ratio::new(3096, 4096));
    // Powers of two: 5 frames in a block of 8 waste 3; the engine can give the tail back.
    let block = Order::holding(5).unwrap();
    assert_eq!(block.frames() - 5, 3);
    let before = engine.free_frames();
    engine.allocate(Request::exactly(frames(5))).unwrap();
    assert_eq!(before - engine.free_frames(), 5);
    // Alignment: one frame at a multiple of 16 takes one frame, where a buddy system of blocks alone takes 16.
    let before = engine.free_frames();
    let aligned = engine.allocate(Request::exactly(frames(1)).aligned(order(4))).unwrap();
    assert!(aligned.first().is_aligned(order(4)));
    assert_eq!(before - engine.free_frames(), 1);
}

#[test]
fn e15_three_pages_of_sixteen() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[FrameRun::new(at(0x100_0000), 16).unwrap()], 0);
    let blocks = |engine: &Engine<'_>, k| engine.free_blocks(order(k)).collect::<Vec<_>>();
    let three = Order::holding(3).unwrap();
    assert_eq!(three.frames(), 4);
    assert_eq!(engine.allocate_order(three), Ok(at(0x100_0000)));
    assert_eq!(blocks(&engine, 2), [at(0x100_4000)]);
    assert_eq!(blocks(&engine, 3), [at(0x100_8000)]);
    for k in [0, 1, 4] {
        assert_eq!(blocks(&engine, k), []);
    }
    engine.free_order(at(0x100_0000), three).unwrap();
    assert_eq!(blocks(&engine, 4), [at(0x100_0000)]);
    assert_eq!(engine.census().largest(), Some(order(4)));
    assert_eq!(engine.census().frames(), 16);
}

#[test]
fn e16_the_buddy_of_0x1000_is_0x0000() {
    // Of the four frames at 0x0000 those at 0x1000 and one other are freed: they merge iff the other is the buddy.
    let merges = |first: u64, second: u64| {
        let mut memory = Memory::default();
        let mut engine: Engine<'_> = memory.engine(&[run(0, 4)], 0);
        engine.allocate_at(run(0, 4)).unwrap();
        engine.free_order(at(first), Order::ZERO).unwrap();
        engine.free_order(at(second), Order::ZERO).unwrap();
        engine.free_blocks(order(1)).next()
    };
    assert_eq!(merges(0x1000, 0x0000), Some(at(0x0000)));
    assert_eq!(merges(0x1000, 0x2000), None);
    assert_eq!(merges(0x3000, 0x2000), Some(at(0x2000)));
    // A buddy outside the region does not exist.
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(1, 3)], 0);
    assert_eq!(engine.free_blocks(order(0)).collect::<Vec<_>>(), [at(0x1000)]);
    assert_eq!(engine.free_blocks(order(1)).collect::<Vec<_>>(), [at(0x2000)]);
    assert_eq!(engine.free_order(at(0x0000), Order::ZERO), Err(FreeError::Foreign));
    assert_eq!(engine.free_order(at(0x1000), Order::ZERO), Err(FreeError::NotAllocated));
    assert_eq!(engine.free_order(at(0x3000), order(1)), Err(FreeError::Misaligned));
}

#[test]
fn a_part_of_a_large_block_is_given_back() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 1 << 13)], u64::MAX);
    let block = engine.allocate_order(order(12)).unwrap();
    let part = FrameRun::new(block.checked_add(100).unwrap(), 300).unwrap();
    engine.free(part).unwrap();
    engine.check_invariants().unwrap();
    assert_eq!(engine.free(part), Err(FreeError::NotAllocated));
    assert_eq!(engine.free(run(block.number(), 101)), Err(FreeError::NotAllocated));
    assert_eq!(engine.free_frames(), (1 << 13) - (1 << 12) + 300);
    engine.free(run(block.number(), 100)).unwrap();
    engine.free(run(block.number() + 400, (1 << 12) - 400)).unwrap();
    engine.check_invariants().unwrap();
    assert_eq!(engine.census().largest(), Some(order(13)));
    assert_eq!(engine.usage().peak_allocated, 1 << 12);
}

#[test]
fn several_blocks_are_given_back_as_one() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 1 << 12)], u64::MAX);
    let mut all = [Frame::new(0); 1 << 12];
    assert_eq!(engine.allocate_bulk(Order::ZERO, &mut all), 1 << 12);
    assert_eq!(engine.allocate_order(Order::ZERO), Err(AllocError::OutOfMemory));
    engine.free_order(Frame::new(0), order(12)).unwrap();
    engine.check_invariants().unwrap();
    assert_eq!(engine.allocate_order(order(12)), Ok(Frame::new(0)));
}

#[test]
fn requests_with_a_place() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0x400, 0x1000)], 0);
    // A device that sees only the frames below 0x500.
    let low = engine.allocate(Request::order(order(5)).below(Frame::new(0x500))).unwrap();
    assert!(low.end() <= Frame::new(0x500));
    assert_eq!(
        engine.allocate(Request::order(order(5)).below(Frame::new(0x410))),
        Err(AllocError::Fragmented)
    );
    // Three frames at a multiple of 1024, in a window.
    let window = Frame::new(0x801)..Frame::new(0x1000);
    let high = engine.allocate(Request::exactly(frames(3)).aligned(order(10)).within(window)).unwrap();
    assert_eq!(high, run(0xc00, 3));
    // At a given frame, once.
    engine.allocate_at(run(0x777, 3)).unwrap();
    assert_eq!(engine.allocate_at(run(0x779, 3)), Err(AllocError::Fragmented));
    assert_eq!(engine.allocate_at(run(0x3ff, 2)), Err(AllocError::BadBlock(FreeError::Foreign)));
    // And longer where it lies.
    assert_eq!(engine.grow(run(0x777, 3), frames(5)), Ok(run(0x777, 8)));
    assert_eq!(engine.grow(run(0x770, 3), frames(5)), Err(AllocError::BadBlock(FreeError::NotAllocated)));
    assert_eq!(engine.grow(high, frames(0x1000)), Err(AllocError::NotInPlace));
    engine.check_invariants().unwrap();
}

#[test]
fn scattered_from_large_to_small() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 64)], 0);
    for frame in [7, 20, 40] {
        engine.allocate_at(run(frame, 1)).unwrap();
    }
    let mut runs = Vec::new();
    assert_eq!(engine.allocate_scattered(100, order(9), |run| runs.push(run)), 61);
    assert!(runs.windows(2).all(|pair| pair[0].count() >= pair[1].count()));
    assert_eq!(runs.iter().map(|run| run.count()).sum::<u64>(), 61);
}

#[test]
fn banks_of_a_firmware_map() {
    let mut table = [None; 4];
    let mut banks = Banks::new(&mut table);
    for usable in [run(0x100, 0x800), run(0x0, 0x9f), run(0x800, 0x200)] {
        banks.add(usable).unwrap();
    }
    for reserved in [run(0x80, 0x100), run(0x300, 0x10)] {
        banks.remove(reserved).unwrap();
    }
    assert!(banks.iter().eq([run(0, 0x80), run(0x180, 0x180), run(0x310, 0x6f0)]));
    assert_eq!(banks.remove(run(0x10, 1)), Ok(()));
    assert_eq!(banks.remove(run(0x20, 1)), Err(RegionError::TableFull));
    let mut words = [0; words_for::<Rows64>(FrameRun::new(Frame::new(0), 0xa00).unwrap()).unwrap()];
    let mut engine = Engine::<Rows64>::new(banks, &mut words).unwrap();
    assert_eq!(engine.capacity(), 0x80 - 1 + 0x180 + 0x6f0);
    assert_eq!(engine.free(run(0x2ff, 0x12)), Err(FreeError::Foreign));
    while engine.allocate_order(Order::ZERO).is_ok() {}
    assert_eq!(engine.usage().allocated, engine.capacity());
    engine.check_invariants().unwrap();
}

#[test]
fn memory_comes_and_goes() {
    let mut table = [None; 3];
    let mut banks = Banks::new(&mut table);
    banks.add(run(0, 0x100)).unwrap();
    let span = run(0, 0x400);
    let mut words = vec![0; words_for::<Rows64>(span).unwrap()];
    let mut engine = Engine::<Rows64>::with_span(span, banks, &mut words).unwrap();
    assert_eq!(engine.online(run(0x80, 0x100)), Err(RegionError::Overlap));
    assert_eq!(engine.online(run(0x300, 0x101)), Err(RegionError::BadRange));
    engine.online(run(0x100, 0x300)).unwrap();
    assert_eq!(engine.census().largest(), Some(order(10)));
    engine.allocate_at(run(0x123, 1)).unwrap();
    assert_eq!(engine.offline(run(0x120, 8)), Err(RegionError::InUse));
    engine.offline(run(0x128, 8)).unwrap();
    assert_eq!(engine.offline(run(0x128, 8)), Err(RegionError::Unknown));
    assert_eq!(engine.capacity(), 0x400 - 8);
    assert_eq!(engine.free(run(0x128, 8)), Err(FreeError::Foreign));
    engine.check_invariants().unwrap();
    engine.online(run(0x128, 8)).unwrap();
    engine.free(run(0x123, 1)).unwrap();
    assert_eq!(engine.census().largest(), Some(order(10)));
    assert_eq!(engine.usage().free, 0x400);
}

#[test]
fn an_engine_without_frames_refuses_everything() {
    let mut engine = Engine::<Rows64>::empty();
    assert_eq!(engine.allocate_order(Order::ZERO), Err(AllocError::TooLarge));
    assert_eq!(engine.allocate(Request::order(order(63))), Err(AllocError::TooLarge));
    let many = Request::exactly(NonZero::<u64>::MAX).below(Frame::new(7));
    assert_eq!(engine.allocate(many), Err(AllocError::TooLarge));
    assert_eq!(engine.free_order(Frame::new(0), Order::ZERO), Err(FreeError::Foreign));
    assert_eq!(engine.online(run(0, 1)), Err(RegionError::BadRange));
    assert_eq!(engine.census().largest(), None);
    assert_eq!(engine.free_blocks(order(9)).count() + engine.free_runs().count(), 0);
    engine.check_invariants().unwrap();
}

#[test]
fn a_memory_map_in_any_order() {
    let (kib, mib) = (1u64 << 10, 1u64 << 20);
    let entry = |usable, start, length| {
        let start = PhysAddr::new(start);
        if usable { MapEntry::usable(start, length) } else { MapEntry::reserved(start, length) }
    };
    // A PC with 64 MiB below 4 GiB and 16 MiB above, its entries shuffled, overlapping and empty.
    let map = [
        entry(false, 3 * mib + 100, 2 * mib),
        entry(true, 4 << 30, 16 * mib),
        entry(true, 0, 639 * kib),
        entry(true, mib, 40 * mib),
        entry(false, 0xf000_0000, u64::MAX),
        entry(true, 30 * mib, 35 * mib),
        entry(true, 7 * mib, 0),
        entry(false, 0, 1),
    ];
    let mut table = [None; 5];
    let banks = Banks::from_map(&mut table, PageSize::SIZE_4K, map).unwrap();
    // The last reserved entry swallows all above 0xf0000000, whatever comes before it.
    assert!(banks.iter().eq([run(1, 158), run(0x100, 0x200), run(0x501, 0x4100 - 0x501)]));
    let map = &map[..4];
    let banks = |table| Banks::from_map(table, PageSize::SIZE_4K, map.iter().copied()).unwrap();
    let limit = |address: PhysAddr| address.split(PageSize::SIZE_4K).0;
    let (dma, dma32) = (limit(DMA_LIMIT), limit(DMA32_LIMIT));
    let mut tables = [[None; 5]; 3];
    let [low, middle, high] = &mut tables;
    let zones = [(low, Frame::new(0)..dma), (middle, dma..dma32), (high, dma32..Frame::new(u64::MAX))];
    let frames = zones.map(|(table, range)| {
        let mut banks = banks(table);
        banks.keep(range.clone());
        assert!(banks.iter().all(|bank| bank.first() >= range.start && bank.end() <= range.end));
        banks.frames()
    });
    assert_eq!(frames, [159 + 0x200 + 0xaff, 0x2900 - 0x1000, 0x1000]);
    let one = MapEntry::usable(PhysAddr::new(0), u64::MAX).frames(PageSize::SIZE_4K).unwrap();
    assert_eq!(one.count(), (1 << 52) - 1);
    assert_eq!(MapEntry::reserved(PhysAddr::new(u64::MAX), 1).frames(PageSize::SIZE_4K).unwrap().count(), 1);
    assert_eq!(
        Banks::from_map(&mut [], PageSize::SIZE_4K, map.iter().copied()).err(),
        Some(RegionError::TableFull)
    );
}

#[test]
fn the_engine_lives_in_its_own_memory() {
    let mut table = [None; 2];
    let mut banks = Banks::new(&mut table);
    banks.add(run(0x10, 0x20)).unwrap();
    banks.add(run(0x100, 0x1000)).unwrap();
    assert_eq!(banks.carve(frames(0x1001)), None);
    assert_eq!(banks.carve(frames(0x18)), Some(run(0x10e8, 0x18)));
    assert_eq!(banks.carve(frames(0xfe8)), Some(run(0x100, 0xfe8)));
    assert_eq!(banks.carve(frames(0x20)), Some(run(0x10, 0x20)));
    assert_eq!((banks.carve(frames(1)), banks.frames()), (None, 0));
}

#[test]
fn late_reservations() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 64), run(100, 64)], 0);
    assert_eq!(engine.reserve(run(60, 44)), Ok(8));
    assert_eq!(engine.reserve(run(64, 36)), Ok(0));
    assert_eq!(engine.reserve(run(50, 60)), Err(AllocError::Fragmented));
    assert_eq!(engine.free_frames(), 120);
    assert_eq!(engine.free(run(60, 4)), Ok(()));
    engine.check_invariants().unwrap();
}

#[test]
fn frames_are_prepared_before_anybody_sees_them() {
    let mut memory = Memory::default();
    let mut engine: Engine<'_> = memory.engine(&[run(0, 64)], 0);
    let mut seen = None;
    let taken = engine.allocate_with(Request::exactly(frames(3)), |run| {
        seen = Some(run);
        Ok::<(), AllocError>(())
    });
    assert_eq!(taken.ok(), seen);
    // A hook that fails leaves the engine as it was.
    let refused = engine.allocate_with(Request::order(order(4)), |_| Err(AllocError::Alignment));
    assert_eq!((refused, engine.free_frames()), (Err(AllocError::Alignment), 61));
    engine.check_invariants().unwrap();
}
