//! A machine: a buddy system over raw memory, and the window onto it.

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_buddy::{Banks, Engine, Frames, Rows64, words_for};
use hectare_core::{DirectMap, Frame, FrameRun, Locked, NoLock, PhysAddr, RawLock};

/// The frame number of the first frame: its address is a multiple of every slab's size.
const FIRST: u64 = 0x4000;

/// Canaries before and after the frames, as long as the frames' alignment.
const CANARY: u8 = 0xa5;
const GUARD: usize = 64;

pub(crate) struct Machine {
    layout: Layout,
    start: NonNull<u8>,
    frames: NonNull<u8>,
    table: Vec<Option<FrameRun>>,
    words: Vec<u64>,
    count: u64,
}

pub(crate) type Source<'m> = Locked<NoLock, Frames<'m>>;

impl Machine {
    /// `count` frames of 4 KiB.
    pub(crate) fn new(count: u64) -> Self {
        let bytes = usize::try_from(count).unwrap() << 12;
        let align = bytes.next_power_of_two().min(1 << 19);
        let layout = Layout::from_size_align(align + bytes + GUARD, align).unwrap();
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: inside the memory.
        let frames = unsafe { start.add(align) };
        // SAFETY: the guard before the frames; align is at least a frame.
        let before = unsafe { frames.sub(GUARD) };
        // SAFETY: as above.
        unsafe { before.write_bytes(CANARY, GUARD) };
        // SAFETY: inside the memory.
        let after = unsafe { frames.add(bytes) };
        // SAFETY: the guard after the frames.
        unsafe { after.write_bytes(CANARY, GUARD) };
        // So that a look at what is no header any more is a look at something.
        // SAFETY: the frames.
        unsafe { frames.write_bytes(0xd1, bytes) };
        Self { layout, start, frames, table: Vec::new(), words: Vec::new(), count }
    }

    /// A new buddy system of all frames, shared, and the window.
    pub(crate) fn start(&mut self) -> (Source<'_>, DirectMap) {
        self.start_with()
    }

    /// The same behind a lock of choice.
    pub(crate) fn start_with<L: RawLock>(&mut self) -> (Locked<L, Frames<'_>>, DirectMap) {
        let first = Frame::new(FIRST);
        self.table = vec![None; 8];
        let mut banks = Banks::new(&mut self.table);
        banks.add(FrameRun::new(first, self.count).unwrap()).unwrap();
        self.words = vec![0; words_for::<Rows64>(banks.span().unwrap()).unwrap()];
        let engine = Engine::new(banks, &mut self.words).unwrap();
        // SAFETY: the frames are this memory, used for nothing else.
        let frames = unsafe { Frames::new(engine) };
        // SAFETY: the memory behind these frames, which lives as long as the machine.
        let map = unsafe { DirectMap::new(self.frames, PhysAddr::new(FIRST << 12), self.count << 12) };
        (Locked::new(frames), map.unwrap())
    }

    /// Whether nobody wrote beside the frames.
    pub(crate) fn check(&self) {
        let bytes = usize::try_from(self.count).unwrap() << 12;
        // SAFETY: inside the memory.
        let (before, after) = (unsafe { self.frames.sub(GUARD) }, unsafe { self.frames.add(bytes) });
        for guard in [before, after] {
            // SAFETY: written by `new`; nobody else may write there.
            let guard = unsafe { core::slice::from_raw_parts(guard.as_ptr(), GUARD) };
            assert!(guard.iter().all(|byte| *byte == CANARY), "a write beside the frames");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Frames that are free.
pub(crate) fn free(source: &Source<'_>) -> u64 {
    source.with(|frames| frames.engine().free_frames()).unwrap()
}
