//! Deliberately wrong allocators: the proof that the checks see what they claim to see. Hidden in `compare`, but
//! selectable by name.

use super::shadow::Shadow;
use super::subject::{Memory, Subject};

/// First fit over a bitmap, correct but for the fault `F`, which begins after 40 requests.
#[derive(Debug)]
pub(super) struct Broken<const F: u8> {
    frames: Shadow,
    count: usize,
    requests: u64,
    last: u32,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// A block is handed out again.
    Overlap,
    /// A block of several frames lies one frame off.
    Misaligned,
    /// A block lies beyond the end.
    Outside,
    /// A request is refused although there is room.
    Refuses,
    /// What is given back is not available again.
    Lost,
    /// A live block is not taken back.
    NotTaken,
    /// The process dies.
    Crash,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Overlap,
        Self::Misaligned,
        Self::Outside,
        Self::Refuses,
        Self::Lost,
        Self::NotTaken,
        Self::Crash,
    ];
}

impl<const F: u8> Broken<F> {
    fn strikes(&self, fault: Fault) -> bool {
        Fault::ALL[usize::from(F)] == fault && self.requests > 40
    }

    fn first_fit(&mut self, order: u32, off: u64) -> Option<u32> {
        let step = 1_usize << order;
        let firsts = (0..self.count).step_by(step).map(|first| first as u64 + off);
        let first = firsts.into_iter().find(|first| self.frames.insert(*first, order).is_ok())?;
        u32::try_from(first).ok()
    }
}

impl<const F: u8> Subject for Broken<F> {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        let count = memory.frames();
        Some(Box::new(Self { frames: Shadow::new(count), count, requests: 0, last: 0 }))
    }

    fn allocate(&mut self, order: u32) -> Option<u32> {
        self.requests += 1;
        if self.strikes(Fault::Crash) {
            std::process::abort();
        }
        if self.strikes(Fault::Refuses) {
            return None;
        }
        if self.strikes(Fault::Outside) {
            return u32::try_from(self.count).ok();
        }
        if self.strikes(Fault::Overlap) {
            return Some(self.last >> order << order);
        }
        let off = u64::from(order > 0 && self.strikes(Fault::Misaligned));
        self.last = self.first_fit(order, off)?;
        Some(self.last)
    }

    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        if self.strikes(Fault::NotTaken) {
            return false;
        }
        if !self.strikes(Fault::Lost) {
            self.frames.remove(u64::from(block), order);
        }
        true
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        None
    }
}
