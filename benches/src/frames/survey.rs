//! The checked pass, not timed: overlap, alignment, refusals and what comes back, all seen from outside.

use serde::{Deserialize, Serialize};

use super::program::Program;
use super::shadow::{ORDERS, Overlap, Shadow};
use super::subject::{Memory, Subject};
use crate::clock;

/// Points of the curves over time.
const SAMPLES: usize = 160;
/// The order of 2 MiB.
const HUGE: u32 = 9;

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breach {
    /// A block shares a frame with a live one.
    Overlap,
    /// A block has a frame that there is not.
    Outside,
    /// A block of order k is no multiple of 2^k.
    Misaligned,
    /// A live block was not taken back.
    NotTaken,
    /// Everything was given back, and yet not all of it can be had again.
    Lost,
}

impl Breach {
    /// In words, for a row.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Overlap => "handed out a frame twice",
            Self::Outside => "handed out a frame that does not exist",
            Self::Misaligned => "misaligned a block",
            Self::NotTaken => "did not take a live block back",
            Self::Lost => "lost memory that was given back",
        }
    }

    /// Whether going on could harm this process.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::Overlap | Self::Outside)
    }
}

/// The memory at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Frames that are live.
    pub live: u64,
    /// Frames that are free.
    pub free: u64,
    /// Free blocks by order; a frame counts in the largest block that has it.
    pub blocks: [u64; ORDERS],
    /// The share of the free frames that no free block of 2 MiB has.
    pub unusable_2m: f64,
}

/// What the checked pass found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Operations checked; less than the program has if a breach or the time limit ended the pass.
    pub ops: usize,
    /// The first breach, and at which operation.
    pub breach: Option<(Breach, usize)>,
    /// Requests refused.
    pub failed: u64,
    /// The first that was refused although an aligned block of its order was free.
    pub refused_in_vain: Option<usize>,
    /// One more than the highest frame handed out.
    pub extent: u64,
    /// Control structures, in bytes.
    pub metadata_bytes: Option<u64>,
    /// The curves. The last is the end.
    pub samples: Vec<Sample>,
    /// 1 − largest hole / free frames, at the end.
    pub external: f64,
}

/// Replays the program once with a new `S` and checks everything, for at most `limit_ns` of CPU time. `None` if the
/// allocator cannot manage that memory.
pub fn survey<S: Subject>(program: &Program, memory: &mut Memory, limit_ns: u64) -> Option<Survey> {
    // SAFETY: the memory is ours until this function returns, and the subject does not outlive it.
    let subject = unsafe { S::build(memory) }?;
    let metadata_bytes = subject.metadata_bytes().map(|bytes| bytes as u64);
    let shadow = Shadow::new(memory.frames());
    let blocks = vec![None; program.slots()];
    let found = Survey { metadata_bytes, ..Survey::default() };
    let mut pass = Checked { subject, shadow, blocks, found };
    let (start, count) = (clock::thread_ns(), program.ops().len());
    for (index, op) in program.ops().iter().enumerate() {
        let order = u32::from(op.order);
        let result = if op.free { pass.give(op.slot, order) } else { pass.take(index, op.slot, order) };
        pass.note(index, result);
        if pass.found.breach.is_some_and(|(breach, _)| breach.is_fatal()) {
            break;
        }
        pass.found.ops = index + 1;
        if (index + 1) * SAMPLES / count != index * SAMPLES / count {
            pass.found.samples.push(pass.sample());
            if clock::thread_ns() - start > limit_ns {
                break;
            }
        }
    }
    if pass.found.ops == count {
        pass.found.external = 1.0 - pass.shadow.largest_hole() as f64 / pass.shadow.free().max(1) as f64;
        for op in program.survivors() {
            let result = pass.give(op.slot, u32::from(op.order));
            pass.note(count, result);
        }
        let result = pass.all_came_back(memory.frames());
        pass.note(count, result);
    }
    Some(pass.found)
}

struct Checked<S: Subject> {
    subject: Box<S>,
    shadow: Shadow,
    blocks: Vec<Option<S::Block>>,
    found: Survey,
}

impl<S: Subject> Checked<S> {
    fn take(&mut self, index: usize, slot: u32, order: u32) -> Result<(), Breach> {
        let block = self.subject.allocate(order);
        self.blocks[slot as usize] = block;
        let Some(block) = block else {
            self.found.failed += 1;
            let there = self.shadow.has(order) && !cfg!(hectare_plant = "frames_refused")
                || cfg!(hectare_plant = "frames_in_vain");
            if self.found.refused_in_vain.is_none() && there {
                self.found.refused_in_vain = Some(index);
            }
            return Ok(());
        };
        let first = S::frame(block);
        self.shadow.insert(first, order).map_err(|overlap| match overlap {
            Overlap::Live => Breach::Overlap,
            Overlap::Outside => Breach::Outside,
        })?;
        self.found.extent = self.found.extent.max(first + (1 << order));
        if first.trailing_zeros() < order && first != 0 { Err(Breach::Misaligned) } else { Ok(()) }
    }

    fn give(&mut self, slot: u32, order: u32) -> Result<(), Breach> {
        let Some(block) = self.blocks[slot as usize].take() else { return Ok(()) };
        self.shadow.remove(S::frame(block), order);
        // SAFETY: the block is live with this order: the program frees only live blocks, and overlaps end the pass.
        if unsafe { self.subject.free(block, order) } { Ok(()) } else { Err(Breach::NotTaken) }
    }

    /// When nothing is live, the memory can be had whole again, 2 MiB at a time.
    fn all_came_back(&mut self, frames: usize) -> Result<(), Breach> {
        if self.found.breach.is_some() {
            return Ok(());
        }
        for _ in 0..frames >> HUGE {
            let Some(block) = self.subject.allocate(HUGE) else { return Err(Breach::Lost) };
            self.shadow.insert(S::frame(block), HUGE).map_err(|_| Breach::Overlap)?;
        }
        Ok(())
    }

    fn note(&mut self, index: usize, result: Result<(), Breach>) {
        if let (None, Err(breach)) = (self.found.breach, result) {
            self.found.breach = Some((breach, index));
        }
    }

    fn sample(&self) -> Sample {
        let (free, huge) = (self.shadow.free(), self.shadow.blocks(HUGE));
        let usable = huge[HUGE as usize] << HUGE;
        let unusable_2m = if free == 0 { 0.0 } else { 1.0 - usable as f64 / free as f64 };
        let live = self.shadow.frames() - free;
        Sample { live, free, blocks: self.shadow.census(), unusable_2m }
    }
}
