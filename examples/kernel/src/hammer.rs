//! All CPUs at the same frames and the same heap at once: nothing is lost, nothing is given out twice.
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write;
use core::num::NonZero;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hectare_core::{FrameRequest, FrameRun, Order, PhysWindow, SharedFrameSource};

use crate::arch::Console;
use crate::check::Checks;
use crate::cpus;
use crate::memory::{Direct, FRAME, FRAMES, free_frames};
use crate::random::Random;

const FRAME_ROUNDS: u64 = 20_000;
const HEAP_ROUNDS: u64 = 40_000;

static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

/// Each CPU takes and gives runs of frames, and signs every frame that it has.
pub fn frames(checks: &mut Checks) {
    let before = free_frames();
    OPERATIONS.store(0, Ordering::Relaxed);
    cpus::on_all(|cpu| {
        let mut random = Random::new(cpu as u64);
        let mut held: [Option<(FrameRun, u64)>; 32] = [None; 32];
        for round in 0..FRAME_ROUNDS {
            let place = random.below(32) as usize;
            if let Some((run, sign)) = held[place].take() {
                give(run, sign);
                continue;
            }
            let request = match random.below(3) {
                0 => FrameRequest::exactly(NonZero::new(1 + random.below(20)).unwrap_or(NonZero::<u64>::MIN)),
                _ => FrameRequest::order(Order::new(random.below(7) as u8).unwrap_or(Order::ZERO)),
            };
            if let Ok(run) = FRAMES.allocate_frames(request) {
                let sign = (cpu as u64) << 56 | round;
                each_frame(run, |word| {
                    // SAFETY: the frame is ours.
                    unsafe { word.write_volatile(sign) }
                });
                held[place] = Some((run, sign));
            }
            OPERATIONS.fetch_add(1, Ordering::Relaxed);
        }
        held.into_iter().flatten().for_each(|(run, sign)| give(run, sign));
    });
    report(checks, "frames");
    checks.that(free_frames() == before, "the frames of the hammer are back");
}

/// Checks the signs of a run and gives it back.
fn give(run: FrameRun, sign: u64) {
    each_frame(run, |word| {
        // SAFETY: the frame is ours.
        if unsafe { word.read_volatile() } != sign {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
    });
    // SAFETY: taken above, and nothing uses it.
    if unsafe { FRAMES.free_frames(run) }.is_err() {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    OPERATIONS.fetch_add(1, Ordering::Relaxed);
}

fn each_frame(run: FrameRun, mut f: impl FnMut(*mut u64)) {
    for frame in run.iter() {
        let start = frame.start(FRAME).and_then(|start| Direct.pointer(start, FRAME.bytes()));
        f(start.expect("frames are shown").cast::<u64>().as_ptr());
    }
}

/// What goes from CPU to CPU: who receives it checks it and frees it.
struct Parcel {
    serial: u64,
    bytes: Vec<u8>,
}

static SHELF: [AtomicPtr<Parcel>; 64] = [const { AtomicPtr::new(ptr::null_mut()) }; 64];
/// The sums of the serials that were sent and received.
static SENT: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);
static PARCELS: AtomicU64 = AtomicU64::new(0);

/// Each CPU packs parcels of all sizes and puts them on a shelf, in exchange for what lies there.
pub fn heap(checks: &mut Checks) {
    OPERATIONS.store(0, Ordering::Relaxed);
    cpus::on_all(|cpu| {
        let mut random = Random::new(100 + cpu as u64);
        for round in 0..HEAP_ROUNDS {
            let serial = (cpu as u64) << 32 | round;
            let length = match random.below(64) {
                0 => 40_000,
                1..8 => random.below(4000),
                _ => random.below(200),
            };
            let mut bytes = Vec::new();
            // In two steps, so that blocks grow too.
            bytes.resize(length as usize / 2, serial as u8);
            bytes.resize(length as usize, serial as u8);
            SENT.fetch_add(serial, Ordering::Relaxed);
            PARCELS.fetch_add(1, Ordering::Relaxed);
            let parcel = Box::into_raw(Box::new(Parcel { serial, bytes }));
            let place = random.below(SHELF.len() as u64) as usize;
            receive(SHELF[place].swap(parcel, Ordering::AcqRel));
        }
    });
    SHELF.iter().for_each(|place| receive(place.swap(ptr::null_mut(), Ordering::AcqRel)));
    report(checks, "heap");
    checks
        .that(SENT.load(Ordering::Relaxed) == RECEIVED.load(Ordering::Relaxed), "every parcel arrived once");
    checks.that(PARCELS.load(Ordering::Relaxed) == 0, "no parcel is under way");
}

fn receive(parcel: *mut Parcel) {
    if parcel.is_null() {
        return;
    }
    // SAFETY: made by `Box::into_raw`; the swap gave it to nobody else.
    let parcel = unsafe { Box::from_raw(parcel) };
    if parcel.bytes.iter().any(|&byte| byte != parcel.serial as u8) {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    RECEIVED.fetch_add(parcel.serial, Ordering::Relaxed);
    PARCELS.fetch_sub(1, Ordering::Relaxed);
    OPERATIONS.fetch_add(2, Ordering::Relaxed);
}

fn report(checks: &mut Checks, what: &str) {
    let (operations, wrong) = (OPERATIONS.load(Ordering::Relaxed), WRONG.load(Ordering::Relaxed));
    let _ = writeln!(Console, "{what}: {operations} operations on {} CPUs, {wrong} wrong", cpus::CPUS);
    checks.that(wrong == 0, what);
    checks.that(operations > 10_000, "the hammer ran");
}
