//! A pool of messages: a slab cache over a buddy system of 512-byte frames in a static arena.
//!
//! ```text
//!   4 KiB   │ f │ f │ f │ f │ f │ f │ f │ f │     frames: one bit each
//!           │ m m m … header │                    a slab: messages of 40 bytes
//! ```
extern crate alloc;

use alloc::vec::Vec;
use core::fmt::Write;
use core::ptr::NonNull;

use hectare_buddy::{Banks, Engine, Frames, Rows32, words_for};
use hectare_core::{CriticalSectionLock, DirectMap, Frame, FrameRun, Locked, NoLock, PhysAddr};
use hectare_slab::{ByDefault, ObjectCache, SharedCache};

use crate::arena::Arena;
use crate::machine::Console;

const FRAME_LOG2: u8 = 9;
/// The micro:bit has 16 KiB in all, and a cache of its own takes some of the stack.
const FRAMES: usize = if cfg!(feature = "protection") { 8 } else { 4 };
static ARENA: Arena<{ FRAMES << FRAME_LOG2 }> = Arena::new();

/// A span of as many frames needs no more words, wherever it begins.
const WORDS: usize = match FrameRun::new(Frame::new(1), FRAMES as u64 + 64) {
    Some(span) => words_for::<Rows32>(span).expect("a short span"),
    None => 0,
};

#[derive(Default)]
struct Message {
    to: u32,
    text: [u8; 32],
}

/// As many messages as fit are taken, each at a place of its own; one more is refused; all go back.
/// A frame of its own, which is gone when it ends: an engine takes a kilobyte of stack.
#[inline(never)]
pub fn run() -> bool {
    let Some(arena) = ARENA.take() else { return false };
    let start = NonNull::from(&mut *arena).cast::<u8>();
    let address = PhysAddr::new(start.addr().get() as u64);
    // SAFETY: the arena is ours for ever.
    let window = unsafe { DirectMap::new(start, address, arena.len() as u64) };
    let run = FrameRun::new(Frame::new(address.value() >> FRAME_LOG2), FRAMES as u64);
    let (Some(window), Some(run)) = (window, run) else { return false };

    let mut table = [None; 1];
    let mut words = [0; WORDS];
    let mut banks = Banks::new(&mut table);
    if banks.add(run).is_err() {
        return false;
    }
    let Ok(engine) = Engine::<Rows32>::new(banks, &mut words) else { return false };
    // SAFETY: the frames are the arena's, which nothing else uses.
    let frames = unsafe { Frames::<Rows32, FRAME_LOG2>::new(engine) };
    let frames = Locked::<NoLock, _>::new(frames);
    let cache = ObjectCache::<Message, _, _, _>::new("message", ByDefault, &frames, window);
    let messages = SharedCache::new(CriticalSectionLock::new(), cache);

    let mut taken = Vec::new();
    while let Ok(mut message) = messages.take() {
        let to = taken.len() as u32;
        (message.to, message.text) = (to, [to as u8; 32]);
        taken.push(message);
    }
    let right = (0..).zip(&taken).all(|(to, message)| message.to == to && message.text == [to as u8; 32]);
    let count = taken.len();
    let info = messages.info();
    drop(taken);
    let (Ok(info), Ok(_), Ok(end)) = (info, messages.shrink(), messages.info()) else { return false };
    let _ = writeln!(
        Console,
        "pool: {count} messages of {} bytes in {} slabs, then {} in {}",
        info.object_size, info.slabs, end.active_objects, end.slabs
    );
    right && count == info.objects && info.slabs > 1 && end.slabs == 0
}
