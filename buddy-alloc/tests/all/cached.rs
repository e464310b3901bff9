//! Per-CPU caches.
//!
//! * a request is refused only if no block would do anywhere: in the engine, in any cache
//! * no frame is handed out twice, whatever CPUs come and go, with threads too
//! * a block freed twice, a foreign one, a misaligned one is refused
//! * after a drain the engine has everything
#![expect(unsafe_code, reason = "gives frames back")]

use core::cell::Cell;
use core::num::NonZero;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

use hectare_buddy::{
    Banks, Cached, Each, Engine, Frames, GroupSource, Keep, Request, Rows4, Rows64, Shared, SharedFrames,
    shared, words_for,
};
use hectare_core::{
    AllocError, CheckInvariants, CpuPin, Frame, FrameRequest, FrameRun, FreeError, Locked, NoCpu, Order,
    PageSize, SharedFrameSource, SingleCpu, Slot, SpinLock,
};
use hectare_testkit::stand_in::ThreadSlots;

use crate::support::{Memory, Plain, frames, order, run};

type Source<'m> = Locked<SpinLock, Frames<'m, Rows64>>;

fn source<'m>(memory: &'m mut Memory<u64>, banks: &[FrameRun]) -> Source<'m> {
    // SAFETY: nobody writes to the frames: they are only numbers.
    Locked::new(unsafe { Frames::new(memory.engine(banks, 0)) })
}

/// A source for a `static`: what it is made of is reached from there, so nothing leaks.
fn lasting_source(bank: FrameRun) -> Source<'static> {
    let mut banks = Banks::new(vec![None; 1].leak());
    banks.add(bank).unwrap();
    let words = vec![0; words_for::<Rows64>(bank).unwrap()].leak();
    // SAFETY: nobody writes to the frames: they are only numbers.
    Locked::new(unsafe { Frames::new(Engine::new(banks, words).unwrap()) })
}

fn engine<R>(source: &Source<'_>, f: impl FnOnce(&Engine<'_, Rows64>) -> R) -> R {
    source.with(|frames| f(frames.engine())).unwrap()
}

/// Three CPUs on one thread: who runs is chosen by hand.
#[derive(Default)]
struct Chosen {
    now: Cell<Option<u16>>,
    busy: [Cell<bool>; 3],
}

impl Chosen {
    fn enter<R>(&self, slot: Option<u16>, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let busy = slot.and_then(|slot| self.busy.get(usize::from(slot))).filter(|busy| !busy.get());
        let Some(busy) = busy else { return f(None) };
        busy.set(true);
        let result = f(slot.map(Slot::new));
        busy.set(false);
        result
    }
}

// SAFETY: one thread; `busy` keeps a nested closure from a slot that is taken.
unsafe impl CpuPin for Chosen {
    fn slots(&self) -> u32 {
        3
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        self.enter(self.now.get(), f)
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        for slot in 0..3 {
            self.enter(Some(slot), |slot| slot.map(drain));
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Random requests from three CPUs and none, on 1100 frames with a hole.
fn churn<S: GroupSource + Sync>(source: S, banks: &[FrameRun], steps: u32, check: impl Fn(&S, &Plain)) {
    let span =
        run(banks[0].first().number(), banks[banks.len() - 1].end().number() - banks[0].first().number());
    let mut plain = Plain::new(span, banks);
    let cached: Cached<_, _, 3> = Cached::new(source, Chosen::default(), Keep::FRAMES_AND_HUGE);
    let (mut random, mut live) = (Random(7), Vec::new());
    for step in 0..steps {
        let slot = u16::try_from(random.below(4)).unwrap();
        cached_on(&cached, slot);
        // Phases that fill and that empty.
        if random.below(16) < if step / 1500 % 2 == 0 { 10 } else { 5 } {
            let k = order([0, 0, 0, 0, 1, 3, 9, 9][random.below(8)]);
            match cached.allocate_frames(FrameRequest::order(k)) {
                Ok(run) => {
                    assert!(plain.suits(&Request::order(k), run), "{run:?}");
                    plain.mark(run, false);
                    live.push(run);
                }
                Err(error) => assert!(slot == 3 || !plain.serves(&Request::order(k)), "{k:?}: {error}"),
            }
        } else if !live.is_empty() {
            let run = live.swap_remove(random.below(live.len()));
            plain.mark(run, true);
            // SAFETY: the run is ours.
            unsafe { cached.free_frames(run) }.unwrap();
        }
    }
    cached_on(&cached, 0);
    cached.drain();
    assert_eq!((cached.refused(), cached.cached_frames()), (0, 0));
    check(cached.source(), &plain);
}

/// Slot 3 is none.
fn cached_on<S, const N: usize>(cached: &Cached<S, Chosen, 3, N>, slot: u16) {
    cached.cpu().now.set(Some(slot));
}

#[test]
fn a_request_is_refused_only_if_no_block_would_do() {
    let banks = [run(100, 900), run(1024, 1030)];
    let mut memory = Memory::default();
    let steps = if cfg!(miri) { 100 } else { 20_000 };
    churn(source(&mut memory, &banks), &banks, steps, |source, plain| {
        engine(source, |engine| plain.check(engine))
    });
}

#[test]
fn the_same_block_by_block() {
    let banks = [run(64, 1500)];
    let mut memory = Memory::default();
    let each = {
        let source = source(&mut memory, &banks);
        // SAFETY: the source manages these frames.
        unsafe { Each::new(source, banks[0]) }
    };
    let steps = if cfg!(miri) { 100 } else { 20_000 };
    churn(each, &banks, steps, |each, plain| engine(each.source(), |engine| plain.check(engine)));
}

#[test]
fn the_same_over_the_engine_for_many_cpus() {
    let banks = [run(64, 900), run(1024, 1100)];
    let mut table = [None; 2];
    let mut map = Banks::new(&mut table);
    banks.iter().for_each(|bank| map.add(*bank).unwrap());
    let count = shared::words_for::<Rows64>(map.span().unwrap(), 0).unwrap();
    let words: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let engine = Shared::<_, Rows64>::new(map, &words, NoCpu).unwrap();
    // SAFETY: nobody writes to the frames: they are only numbers.
    let source = unsafe { SharedFrames::<_, Rows64>::new(engine) };
    churn(source, &banks, if cfg!(miri) { 100 } else { 20_000 }, |source, plain| {
        // SAFETY: nothing is given back.
        let engine = unsafe { source.engine() };
        engine.check_invariants().unwrap();
        for frame in banks.iter().flat_map(|bank| bank.iter()) {
            let one = FrameRun::new(frame, 1).unwrap();
            assert_eq!(engine.is_free(frame), plain.is_free(one), "{frame:?}");
        }
    });
}

#[test]
fn a_block_is_given_once() {
    let mut memory = Memory::default();
    let banks = [run(0, 1 << 12), run(5000, 10)];
    let cached: Cached<_, _, 1> =
        Cached::new(source(&mut memory, &banks), SingleCpu::new(), Keep::FRAMES_AND_HUGE);
    let free = |run| {
        // SAFETY: the frames are ours, or the call is refused.
        unsafe { cached.free_frames(run) }
    };
    for (k, count) in [(0, 3), (9, 2)] {
        let blocks: Vec<_> = (0..count)
            .map(|_| FrameRun::of_order(cached.allocate_order(order(k)).unwrap(), order(k)).unwrap())
            .collect();
        for block in &blocks {
            free(*block).unwrap();
        }
        for block in &blocks {
            assert_eq!(free(*block), Err(FreeError::NotAllocated), "{block:?}");
        }
    }
    assert_eq!(free(run(4999, 1)), Err(FreeError::Foreign));
    assert_eq!(free(run(1 << 12, 1)), Err(FreeError::Foreign));
    assert_eq!(free(run(1, 512)), Err(FreeError::Misaligned));
    assert_eq!(free(run(2000, 7)), Err(FreeError::NotAllocated));
    cached.drain();
    assert_eq!(engine(cached.source(), |engine| engine.free_frames()), (1 << 12) + 10);
    assert_eq!(cached.refused(), 0);
    // What another CPU would keep is found when it goes back.
    assert_eq!(free(run(3, 1)), Ok(()));
    cached.drain();
    assert_eq!(cached.refused(), 1);
    engine(cached.source(), |engine| engine.check_invariants().unwrap());
}

/// Threads on fewer slots than there are threads; each frame has a flag that says who has it.
#[test]
fn threads_never_share_a_frame() {
    const FRAMES: usize = 700;
    let mut memory = Memory::default();
    let source = source(&mut memory, &[run(0, FRAMES as u64)]);
    let cached: Cached<_, _, 2> = Cached::new(source, ThreadSlots::new(2), Keep::FRAMES_AND_HUGE);
    let owners: Vec<AtomicU32> = (0..FRAMES).map(|_| AtomicU32::new(0)).collect();
    let mark = |run: FrameRun, from: u32, to: u32| {
        for frame in run.iter() {
            let owner = &owners[usize::try_from(frame.number()).unwrap()];
            assert_eq!(owner.swap(to, Ordering::Relaxed), from, "{frame:?}");
        }
    };
    let steps = if cfg!(miri) { 60 } else { 60_000 };
    std::thread::scope(|scope| {
        for thread in 1..=4u32 {
            let (cached, mark) = (&cached, &mark);
            scope.spawn(move || {
                let (mut random, mut live) = (Random(thread.into()), Vec::new());
                for _ in 0..steps {
                    if random.below(8) < 4 || live.is_empty() {
                        let k = order([0, 0, 0, 0, 0, 2, 9][random.below(7)]);
                        if let Ok(run) = cached.allocate_frames(FrameRequest::order(k)) {
                            mark(run, 0, thread);
                            live.push(run);
                        }
                    } else {
                        let run = live.swap_remove(random.below(live.len()));
                        mark(run, thread, 0);
                        // SAFETY: the run is ours.
                        unsafe { cached.free_frames(run) }.unwrap();
                    }
                }
                for run in live {
                    mark(run, thread, 0);
                    // SAFETY: the run is ours.
                    unsafe { cached.free_frames(run) }.unwrap();
                }
            });
        }
    });
    cached.drain();
    assert_eq!((cached.refused(), cached.cached_frames()), (0, 0));
    engine(cached.source(), |engine| {
        assert_eq!(engine.free_frames(), FRAMES as u64);
        engine.check_invariants().unwrap();
    });
}

/// A source in whose calls an interrupt comes, which allocates and frees.
struct Interrupted {
    source: Source<'static>,
    inside: AtomicBool,
    handled: AtomicU32,
}

static INTERRUPTED: OnceLock<Cached<Interrupted, ThreadSlots, 1>> = OnceLock::new();

impl Interrupted {
    fn interrupt(&self) {
        if let Some(cached) = INTERRUPTED.get().filter(|_| !self.inside.swap(true, Ordering::Relaxed)) {
            let frame = cached.allocate_frames(FrameRequest::order(Order::ZERO)).unwrap();
            // SAFETY: the frame is ours.
            unsafe { cached.free_frames(frame) }.unwrap();
            self.handled.fetch_add(1, Ordering::Relaxed);
            self.inside.store(false, Ordering::Relaxed);
        }
    }
}

// SAFETY: the inner source's promises.
unsafe impl SharedFrameSource for Interrupted {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.interrupt();
        self.source.allocate_frames(request)
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        self.interrupt();
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.source.free_frames(run) }
    }
}

// SAFETY: the inner source's banks do not change.
unsafe impl GroupSource for Interrupted {
    fn bank(&self, frame: Frame) -> Option<FrameRun> {
        self.interrupt();
        self.source.bank(frame)
    }
}

#[test]
fn an_interrupt_inside_takes_the_shared_path() {
    let source = lasting_source(run(0, 1000));
    let interrupted = Interrupted { source, inside: AtomicBool::new(false), handled: AtomicU32::new(0) };
    let cached =
        INTERRUPTED.get_or_init(|| Cached::new(interrupted, ThreadSlots::new(1), Keep::FRAMES_AND_HUGE));
    let mut live = Vec::new();
    for _ in 0..300 {
        live.push(cached.allocate_frames(FrameRequest::exactly(frames(1))).unwrap());
    }
    live.sort_unstable();
    live.dedup();
    assert_eq!(live.len(), 300);
    for run in live {
        // SAFETY: the run is ours.
        unsafe { cached.free_frames(run) }.unwrap();
    }
    cached.drain();
    assert!(cached.source().handled.load(Ordering::Relaxed) > 10);
    assert_eq!((cached.refused(), engine(&cached.source().source, |engine| engine.free_frames())), (0, 1000));
}

/// A CPU on which an interrupt comes after a closure has ended, and gives a frame back: the number of that, + 1.
struct Late(ThreadSlots, AtomicU64);

static LATE: OnceLock<Cached<Source<'static>, Late, 1>> = OnceLock::new();

// SAFETY: the inner identity's promises.
unsafe impl CpuPin for Late {
    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let result = self.0.with(f);
        if let Some(frame) = self.1.swap(0, Ordering::Relaxed).checked_sub(1) {
            // SAFETY: the test gave the frame up.
            unsafe { LATE.get().unwrap().free_frames(run(frame, 1)) }.unwrap();
        }
        result
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        self.0.request_drain(drain);
    }
}

/// A frame comes to the cache between the look into it and the request for a batch: whether it is in hand or among its
/// group, it is found.
#[test]
fn a_frame_that_comes_after_the_look_is_found() {
    let source = lasting_source(run(0, 3));
    let late = Late(ThreadSlots::new(1), AtomicU64::new(0));
    let cached = LATE.get_or_init(|| Cached::new(source, late, Keep::FRAMES_AND_HUGE));
    let one = FrameRequest::order(Order::ZERO);
    for _ in 0..2 {
        let taken: Vec<_> = (0..3).map(|_| cached.allocate_frames(one).unwrap()).collect();
        for frame in &taken {
            cached.cpu().1.store(frame.first().number() + 1, Ordering::Relaxed);
            assert_eq!(cached.allocate_frames(one), Ok(*frame));
        }
        assert!(cached.allocate_frames(one).is_err());
        for frame in taken {
            // SAFETY: the frame is ours.
            unsafe { cached.free_frames(frame) }.unwrap();
        }
    }
    cached.drain();
    assert_eq!((cached.refused(), engine(cached.source(), |engine| engine.free_frames())), (0, 3));
}

/// As the models of loom have it: four frames, two at a time.
#[test]
fn a_small_cache_gives_everything_back() {
    let mut memory = Memory::default();
    // SAFETY: nobody writes to the frames: they are only numbers.
    let frames = unsafe { Frames::<Rows4>::new(memory.engine(&[run(0, 4)], 0)) };
    let source: Locked<SpinLock, _> = Locked::new(frames);
    let keep = [Keep { order: Order::ZERO, batch: NonZero::new(2).unwrap(), most: 2 }];
    let cached: Cached<_, _, 1, 1> = Cached::new(source, SingleCpu::new(), keep);
    for count in [1, 2, 3, 4, 4] {
        let taken: Vec<_> =
            (0..count).map(|_| cached.allocate_frames(FrameRequest::order(Order::ZERO)).unwrap()).collect();
        for run in taken {
            // SAFETY: the run is ours.
            unsafe { cached.free_frames(run) }.unwrap();
        }
        if count % 2 == 0 {
            cached.drain();
            assert_eq!(cached.source().with(|frames| frames.engine().free_frames()), Ok(4), "after {count}");
        }
    }
    cached.drain();
    assert_eq!(cached.source().with(|frames| frames.engine().free_frames()), Ok(4));
}
