//! Page frames: a row of flags, and an arena as their memory.
#![expect(unsafe_code, reason = "implements unsafe traits")]

use core::ptr::NonNull;
use std::sync::Arc;

use hectare_core::{AllocError, CheckInvariants, DirectMap, Frame, FrameRequest, FrameRun, FrameSource};
use hectare_core::{FreeError, PageSize, PhysAddr, PhysWindow, Violation};

use crate::arena::{Arena, Damage};

/// A source of frames of 2^`LOG2` bytes that is obviously right: the lowest free run is taken. Every operation is
/// O(frames). Takes parts of runs back; a free of a frame that is free or foreign is refused.
#[derive(Debug)]
pub struct PlainFrames<const LOG2: u8 = 12> {
    memory: Arc<Arena>,
    first: Frame,
    /// Whether each frame is handed out.
    used: Vec<bool>,
}

/// The memory behind [`PlainFrames`]; it lives as long as this or the source does.
#[derive(Clone, Debug)]
pub struct ArenaWindow {
    map: DirectMap,
    _memory: Arc<Arena>,
}

// SAFETY: the map's promises; the arena lives as long as the window.
unsafe impl PhysWindow for ArenaWindow {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        self.map.pointer(address, length)
    }
}

impl<const LOG2: u8> PlainFrames<LOG2> {
    /// `count` frames from number `first` on, all free.
    ///
    /// # Panics
    /// There is no such run of frames, or not so much memory.
    #[must_use]
    pub fn new(first: u64, count: u64) -> Self {
        let frames = usize::try_from(count).expect("a number of frames that fits the host");
        let bytes = frames.checked_mul(1 << LOG2).expect("a number of bytes that fits the host");
        let (memory, _) = Arena::with_region(bytes, 1 << LOG2, 0);
        let source = Self { memory: Arc::new(memory), first: Frame::new(first), used: vec![false; frames] };
        assert!(source.all().end().start(Self::FRAME_SIZE).is_some(), "frames beyond the address space");
        source
    }

    /// All its frames.
    ///
    /// # Panics
    /// Never: [`new`](Self::new) made such a run.
    #[must_use]
    pub fn all(&self) -> FrameRun {
        FrameRun::new(self.first, self.used.len() as u64).expect("a run of frames")
    }

    /// The window onto their memory.
    ///
    /// # Panics
    /// Never: [`new`](Self::new) made sure that the addresses do not wrap.
    #[must_use]
    pub fn window(&self) -> ArenaWindow {
        let region = self.memory.pointer(self.memory.given()[0].clone());
        let first = self.first.start(Self::FRAME_SIZE).expect("an address");
        // SAFETY: the region is the memory behind the frames, and the window keeps the arena alive.
        let map = unsafe { DirectMap::new(region.cast(), first, region.len() as u64) };
        ArenaWindow { map: map.expect("addresses that do not wrap"), _memory: Arc::clone(&self.memory) }
    }

    /// How many frames are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.used.iter().filter(|used| !**used).count() as u64
    }

    /// Whether nobody wrote beside the frames.
    ///
    /// # Errors
    /// The first byte that was written to.
    pub fn check_memory(&self) -> Result<(), Damage> {
        self.memory.check()
    }

    /// The flags of a run, if it is one of ours.
    fn flags(&mut self, run: FrameRun) -> Option<&mut [bool]> {
        let start = usize::try_from(run.first().number().checked_sub(self.first.number())?).ok()?;
        let count = usize::try_from(run.count()).ok()?;
        self.used.get_mut(start..start.checked_add(count)?)
    }
}

// SAFETY: (1) the arena is the memory; (2) the run found is as asked; (3) its flags were all clear and are set now.
unsafe impl<const LOG2: u8> FrameSource for PlainFrames<LOG2> {
    const FRAME_SIZE: PageSize = PageSize::from_log2(LOG2).expect("a page size");

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let count = request.count.get();
        if count > self.used.len() as u64 {
            return Err(AllocError::TooLarge);
        }
        let starts = self.all().iter().filter(|first| first.is_aligned(request.align));
        for run in starts.filter_map(|first| FrameRun::new(first, count)) {
            if let Some(flags) = self.flags(run).filter(|flags| !flags.contains(&true)) {
                flags.fill(true);
                return Ok(run);
            }
        }
        Err(if self.free() < count { AllocError::OutOfMemory } else { AllocError::Fragmented })
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let flags = self.flags(run).ok_or(FreeError::Foreign)?;
        if flags.contains(&false) {
            return Err(FreeError::NotAllocated);
        }
        flags.fill(false);
        Ok(())
    }
}

impl<const LOG2: u8> CheckInvariants for PlainFrames<LOG2> {
    /// Nothing can be wrong with the flags; the memory beside the frames is looked at.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.check_memory().map_err(|damage| Violation {
            rule: "nobody writes beside the frames",
            at: (damage.offset as i64).cast_unsigned(),
        })
    }
}
