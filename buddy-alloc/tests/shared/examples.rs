//! Single calls whose result is known, above all bad frees.
#![expect(unsafe_code, reason = "memory goes back by unsafe calls")]

use core::num::NonZero;

use hectare_buddy::{Banks, Cached, Keep, Request, Rows64, Shared, SharedFrames, shared};
use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{
    AllocError, CheckInvariants, Figures, FrameRequest, FrameRun, FreeError, NoCpu, Order, SharedFrameSource,
    SingleCpu,
};

use crate::chosen::Chosen;
use crate::support::{frames, order, run};

fn words(span: FrameRun, slots: u32) -> Vec<AtomicU64> {
    (0..shared::words_for::<Rows64>(span, slots).unwrap()).map(|_| AtomicU64::new(7)).collect()
}

/// Runs `test` with an engine over these banks, which `slots` CPUs use.
fn with_engine(all: &[FrameRun], slots: u32, test: impl FnOnce(&Shared<'_, &Chosen>, &Chosen)) {
    let mut table = [None; 8];
    let mut banks = Banks::new(&mut table);
    all.iter().for_each(|bank| banks.add(*bank).unwrap());
    let pin = Chosen::new(slots);
    let words = words(banks.span().unwrap(), slots);
    let engine = Shared::new(banks, &words, &pin).unwrap();
    test(&engine, &pin);
    engine.check_invariants().unwrap();
}

/// The free is refused, and nothing is changed.
fn refuses(engine: &Shared<'_, &Chosen>, bad: FrameRun, error: FreeError) {
    let (mut before, mut after) = (vec![0; engine.bitmap_words()], vec![0; engine.bitmap_words()]);
    engine.save(&mut before).unwrap();
    assert_eq!(engine.free(bad), Err(error), "{bad:?}");
    engine.save(&mut after).unwrap();
    assert_eq!(before, after);
    engine.check_invariants().unwrap();
}

#[test]
fn a_frame_in_another_stock_is_not_freed_again() {
    with_engine(&[run(0, 9000)], 2, |engine, pin| {
        pin.be(0);
        let frame = engine.allocate_order(Order::ZERO).unwrap();
        // By the CPU that has the row in stock: the frame goes back there.
        engine.free_order(frame, Order::ZERO).unwrap();
        for cpu in [0, 1, 2] {
            pin.be(cpu);
            refuses(engine, run(frame.number(), 1), FreeError::NotAllocated);
            refuses(engine, run(frame.number(), 5), FreeError::NotAllocated);
        }
    });
}

#[test]
fn frames_of_a_run_go_back_one_by_one() {
    type Memory<'m> = SharedFrames<'m, NoCpu>;
    const { assert!(<Memory<'_> as SharedFrameSource>::TAKES_PARTS) };
    const { assert!(<Cached<Memory<'_>, SingleCpu, 1> as SharedFrameSource>::TAKES_PARTS) };
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(run(0, 256)).unwrap();
    let words = words(run(0, 256), 1);
    // SAFETY: the frames are numbers here.
    let memory: Memory<'_> = unsafe { SharedFrames::new(Shared::new(banks, &words, NoCpu).unwrap()) };
    let cached = Cached::<_, _, 1>::new(memory, SingleCpu::new(), Keep::FRAMES_AND_HUGE);
    for request in [FrameRequest::order(order(5)), FrameRequest::exactly(NonZero::new(100).unwrap())] {
        let block = cached.allocate_frames(request).unwrap();
        for frame in block.iter() {
            // SAFETY: each was allocated, and is given back once.
            unsafe { cached.free_frames(FrameRun::new(frame, 1).unwrap()) }.unwrap();
        }
    }
    cached.drain();
    assert_eq!(cached.refused(), 0);
    // SAFETY: no frame is given back.
    assert_eq!(unsafe { cached.source().engine() }.free_frames(), 256);
}

#[test]
fn bad_frees_of_blocks() {
    with_engine(&[run(0, 0x4000), run(0x5000, 0x100)], 1, |engine, pin| {
        pin.be(0);
        let block = engine.allocate_order(order(9)).unwrap().number();
        engine.free_order(run(block + 64, 1).first(), Order::ZERO).unwrap();
        refuses(engine, run(block, 512), FreeError::NotAllocated);
        refuses(engine, run(block + 64, 1), FreeError::NotAllocated);
        refuses(engine, run(0x3fff, 2), FreeError::Foreign);
        refuses(engine, run(0x4000, 1), FreeError::Foreign);
        refuses(engine, run(u64::MAX - 1, 1), FreeError::Foreign);
        assert_eq!(engine.free_order(run(block + 1, 1).first(), order(9)), Err(FreeError::Misaligned));
        engine.free(run(block, 64)).unwrap();
        engine.free(run(block + 65, 512 - 65)).unwrap();
        refuses(engine, run(block, 512), FreeError::NotAllocated);
        engine.drain();
        assert_eq!(engine.usage().allocated, 0);
    });
}

#[test]
fn a_frame_that_merged_is_not_freed_again() {
    with_engine(&[run(0, 5000)], 0, |engine, _| {
        let (frame, block) =
            (engine.allocate_order(Order::ZERO).unwrap(), engine.allocate_order(order(7)).unwrap());
        engine.free_order(frame, Order::ZERO).unwrap();
        engine.free_order(block, order(7)).unwrap();
        for k in 0..=12 {
            refuses(engine, run(0, 1 << k), FreeError::NotAllocated);
        }
    });
}

/// What is left in the stock of a CPU is had by others before a request is refused.
#[test]
fn the_last_frames_lie_in_a_stock() {
    with_engine(&[run(0, 128)], 3, |engine, pin| {
        pin.be(0);
        let first = engine.allocate_order(Order::ZERO).unwrap();
        pin.be(1);
        let others: Vec<_> = core::iter::from_fn(|| engine.allocate_order(Order::ZERO).ok()).collect();
        assert_eq!(others.len(), 127);
        assert_eq!(engine.allocate_order(Order::ZERO), Err(AllocError::OutOfMemory));
        engine.free_order(first, Order::ZERO).unwrap();
        others.into_iter().for_each(|frame| engine.free_order(frame, Order::ZERO).unwrap());
        pin.be(2);
        assert_eq!(engine.allocate(Request::exactly(frames(128))), Ok(run(0, 128)));
    });
}

/// Without drains the refusal is honest, and the CPU that has the stock can put it back itself.
#[test]
fn a_cpu_puts_its_stock_back() {
    with_engine(&[run(0, 4096)], 1, |engine, pin| {
        pin.be(0);
        let frame = engine.allocate_order(Order::ZERO).unwrap();
        engine.free_order(frame, Order::ZERO).unwrap();
        engine.drain();
        assert_eq!(engine.census().blocks(order(12)), 1);
    });
}

#[test]
fn errors_say_why() {
    with_engine(&[run(0, 1000)], 1, |engine, _| {
        assert_eq!(engine.allocate_order(order(10)), Err(AllocError::TooLarge));
        let all = engine.allocate(Request::exactly(frames(1000))).unwrap();
        assert_eq!(engine.allocate_order(order(0)), Err(AllocError::OutOfMemory));
        engine.free(run(1, 1)).unwrap();
        engine.free(run(3, 1)).unwrap();
        assert_eq!(engine.allocate_order(order(1)), Err(AllocError::Fragmented));
        assert_eq!(engine.allocate_at(run(1, 2)), Err(AllocError::Fragmented));
        assert_eq!(engine.allocate_at(run(999, 2)), Err(FreeError::Foreign.into()));
        let failures = engine.usage().failures;
        assert_eq!((failures.out_of_memory, failures.fragmented), (2, 1));
        engine.allocate_at(run(3, 1)).unwrap();
        engine.allocate_at(run(1, 1)).unwrap();
        engine.free(all).unwrap();
    });
}

#[test]
fn too_little_memory_for_the_words() {
    let mut table = [None; 1];
    let mut banks = Banks::new(&mut table);
    banks.add(run(0, 1000)).unwrap();
    let words = words(run(0, 1000), 0);
    assert!(Shared::<_, Rows64>::new(banks, &words[..20], NoCpu).is_err());
    assert!(Shared::<_, Rows64>::new(Banks::new(&mut []), &words, NoCpu).is_err());
}
