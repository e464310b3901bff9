//! Threads that run into each other: every frame has a tag that says who holds it, so that a frame handed out twice is
//! seen at once; when all threads have ended, the engine must say of each frame what the tags say.

use std::sync::Mutex;
use std::thread;

use hectare_buddy::{Banks, Geometry, Request, Rows4, Rows64, Shared, shared};
use hectare_core::sync::atomic::{AtomicU64, Ordering};
use hectare_core::{CheckInvariants, CpuPin, Figures, Frame, FrameRun, NoCpu};
use hectare_testkit::stand_in::ThreadSlots;

use crate::support::{frames, order, run};

const THREADS: u64 = 4;
const STEPS: u32 = if cfg!(miri) { 60 } else { 60_000 };

/// Xorshift; Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The engine, who holds each frame, and runs that are on their way to another thread.
struct Arena<'m, C, G: Geometry> {
    engine: Shared<'m, C, G>,
    first: u64,
    tags: Vec<AtomicU64>,
    mail: Mutex<Vec<FrameRun>>,
}

impl<C: CpuPin + Sync, G: Geometry> Arena<'_, C, G> {
    fn tag(&self, frame: Frame) -> &AtomicU64 {
        &self.tags[usize::try_from(frame.number() - self.first).unwrap()]
    }

    fn took(&self, run: FrameRun, me: u64) {
        for frame in run.iter() {
            let before = self.tag(frame).swap(me, Ordering::Relaxed);
            assert_eq!(before, 0, "{frame:?} was handed out twice");
        }
    }

    fn give(&self, run: FrameRun) {
        for frame in run.iter() {
            assert_ne!(self.tag(frame).swap(0, Ordering::Relaxed), 0, "{frame:?} is held");
        }
        self.engine.free(run).unwrap();
    }

    /// What a thread does at random.
    fn act(&self, random: &mut Random, held: &mut Vec<FrameRun>, me: u64, largest: u8) {
        match random.below(16) {
            0..=5 => {
                let k = order(u8::try_from(random.below(u64::from(largest) + 1)).unwrap());
                if let Ok(first) = self.engine.allocate_order(k) {
                    assert!(first.is_aligned(k));
                    held.push(run(first.number(), k.frames()));
                    self.took(*held.last().unwrap(), me);
                }
            }
            6 => {
                let request = Request::exactly(frames(1 + random.below(1 << largest)));
                if let Ok(run) = self.engine.allocate(request.aligned(order(0))) {
                    assert_eq!(run.count(), request.count.get());
                    self.took(run, me);
                    held.push(run);
                }
            }
            7 => {
                let wanted = run(self.first + random.below(self.tags.len() as u64), 1 + random.below(9));
                if self.engine.allocate_at(wanted).is_ok() {
                    self.took(wanted, me);
                    held.push(wanted);
                }
            }
            8 => {
                // To another thread, and from another.
                let mut mail = self.mail.lock().unwrap();
                mail.extend(held.pop());
                if mail.len() > 8 {
                    let pick = usize::try_from(random.below(mail.len() as u64)).unwrap();
                    held.push(mail.swap_remove(pick));
                }
            }
            9 => {
                // What is not ours to give: all of it is outside.
                let outside = run(self.first + self.tags.len() as u64 - 1, 2);
                assert!(self.engine.free(outside).is_err());
            }
            _ => {
                if held.is_empty() {
                    return;
                }
                let pick = usize::try_from(random.below(held.len() as u64)).unwrap();
                let run = held.swap_remove(pick);
                let cut = random.below(run.count());
                match FrameRun::new(run.first(), cut) {
                    Some(head) if random.below(4) == 0 => {
                        // The tail first, the head later.
                        self.give(FrameRun::new(head.end(), run.count() - cut).unwrap());
                        held.push(head);
                    }
                    _ => self.give(run),
                }
            }
        }
    }
}

fn stress<C: CpuPin + Sync, G: Geometry>(pin: C, length: u64, largest: u8) {
    let span = run(5, length);
    let mut table = [None; 4];
    let mut banks = Banks::new(&mut table);
    banks.add(span).unwrap();
    let words: Vec<AtomicU64> =
        (0..shared::words_for::<G>(span, pin.slots()).unwrap()).map(|_| AtomicU64::new(0)).collect();
    let arena = Arena {
        engine: Shared::<C, G>::new(banks, &words, pin).unwrap(),
        first: 5,
        tags: (0..length).map(|_| AtomicU64::new(0)).collect(),
        mail: Mutex::new(Vec::new()),
    };
    let held: Vec<FrameRun> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|me| {
                let arena = &arena;
                scope.spawn(move || {
                    let (mut random, mut held) = (Random(me.wrapping_mul(0x9e37_79b9_7f4a_7c15)), Vec::new());
                    for _ in 0..STEPS {
                        arena.act(&mut random, &mut held, me, largest);
                    }
                    held
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    arena.engine.check_invariants().unwrap();
    for frame in span.iter() {
        let free = arena.tag(frame).load(Ordering::Relaxed) == 0;
        assert_eq!(arena.engine.is_free(frame), free, "{frame:?}");
    }
    // Each frame that is free can be had, one by one.
    let free = arena.engine.free_frames();
    let singles: Vec<Frame> = core::iter::from_fn(|| arena.engine.allocate_order(order(0)).ok()).collect();
    assert_eq!(singles.len() as u64, free);
    singles.iter().for_each(|frame| arena.took(run(frame.number(), 1), 9));
    singles.iter().for_each(|frame| arena.give(run(frame.number(), 1)));
    held.into_iter().for_each(|run| arena.give(run));
    arena.mail.lock().unwrap().drain(..).for_each(|run| arena.give(run));
    arena.engine.check_invariants().unwrap();
    assert_eq!(arena.engine.usage().allocated, 0);
    // Everything has merged: all of it can be had at once.
    assert_eq!(arena.engine.allocate(Request::exactly(frames(length))), Ok(span));
}

#[test]
fn threads_with_a_slot_each() {
    stress::<_, Rows64>(ThreadSlots::new(8), 3000, 9);
}

#[test]
fn more_threads_than_slots() {
    stress::<_, Rows64>(ThreadSlots::new(2), 2000, 8);
    stress::<_, Rows4>(ThreadSlots::new(2), 200, 4);
}

#[test]
fn no_slots() {
    stress::<_, Rows64>(NoCpu, 2000, 7);
}

#[test]
fn small_rows() {
    // Every level and carry within 200 frames; threads collide all the time.
    stress::<_, Rows4>(ThreadSlots::new(8), 200, 4);
    stress::<_, Rows4>(NoCpu, 61, 3);
}
