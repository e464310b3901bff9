//! A machine: a buddy system over an arena, and the window onto it.

use core::ptr::NonNull;

use hectare_buddy::{Banks, Engine, Frames, Rows64, words_for};
use hectare_core::{DirectMap, Frame, FrameRun, Locked, NoLock, PhysAddr};
use hectare_testkit::arena::Arena;

/// The frame number of the first frame: its address is a multiple of every slab's size.
const FIRST: u64 = 0x4000;

pub(crate) struct Machine {
    arena: Arena,
    memory: NonNull<u8>,
    table: Vec<Option<FrameRun>>,
    words: Vec<u64>,
    count: u64,
}

pub(crate) type Source<'m> = Locked<NoLock, Frames<'m>>;

impl Machine {
    /// `count` frames of 4 KiB.
    pub(crate) fn new(count: u64) -> Self {
        let bytes = usize::try_from(count).unwrap() << 12;
        let (arena, region) = Arena::with_region(bytes, bytes.next_power_of_two().min(1 << 19), 0);
        Self { arena, memory: region.cast(), table: Vec::new(), words: Vec::new(), count }
    }

    /// A new buddy system of all frames, shared, and the window.
    pub(crate) fn start(&mut self) -> (Source<'_>, DirectMap) {
        let first = Frame::new(FIRST);
        self.table = vec![None; 8];
        let mut banks = Banks::new(&mut self.table);
        banks.add(FrameRun::new(first, self.count).unwrap()).unwrap();
        self.words = vec![0; words_for::<Rows64>(banks.span().unwrap()).unwrap()];
        let engine = Engine::new(banks, &mut self.words).unwrap();
        // SAFETY: the frames are the arena's memory, given away for this.
        let frames = unsafe { Frames::new(engine) };
        // SAFETY: the arena's region is these frames' memory, and lives as long as the machine.
        let map = unsafe { DirectMap::new(self.memory, PhysAddr::new(FIRST << 12), self.count << 12) };
        (Locked::new(frames), map.unwrap())
    }

    /// Whether nobody wrote outside the frames.
    pub(crate) fn check(&self) {
        self.arena.check().unwrap();
    }
}

/// Frames that are free.
pub(crate) fn free(source: &Source<'_>) -> u64 {
    source.with(|frames| frames.engine().free_frames()).unwrap()
}
