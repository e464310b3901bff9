//! The checked pass, not timed: overlap, alignment, contents, refusals, and what comes back at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::program::{ALIGN, Op, OpKind, Program};
use super::subject::Subject;
use crate::arena::Arena;
use crate::clock;

/// A promise that the allocator broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breach {
    /// An object overlaps a live one.
    Overlap,
    /// An object is not aligned to a word.
    Misaligned,
    /// An object lies outside the arena.
    Outside,
    /// A live object's contents changed.
    LostBytes,
    /// A request was refused with more than half of the arena free.
    Refused,
    /// When all is given back, frames are missing.
    Kept,
}

impl Breach {
    /// In words.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Overlap => "overlapping objects",
            Self::Misaligned => "a misaligned object",
            Self::Outside => "an object outside the arena",
            Self::LostBytes => "a live object's contents changed",
            Self::Refused => "refused an object although memory was there",
            Self::Kept => "frames are missing when all is given back",
        }
    }

    /// Whether running on could harm the process that does it.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::Overlap | Self::Outside | Self::LostBytes)
    }
}

/// What the checked pass found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Operations checked; less than the trace has if a breach or the time limit ended the pass.
    pub ops: usize,
    /// The first breach, and at which operation.
    pub breach: Option<(Breach, usize)>,
    /// Requests refused.
    pub failed: u64,
    /// The highest extent handed out, in bytes from the beginning of the arena.
    pub peak_used: u64,
    /// Control structures, in bytes.
    pub metadata_bytes: u64,
}

/// Replays the program once with a new `S` in the first `bytes` of the arena and checks everything, for at most
/// `limit_ns` of CPU time. `None` if they do not suffice to begin.
pub(super) fn survey<S: Subject>(
    program: &Program,
    arena: &mut Arena,
    bytes: usize,
    limit_ns: u64,
) -> Option<Survey> {
    let region = arena.region(bytes);
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let mut subject = unsafe { S::build(region, &program.caches, program.cpus) }?;
    let mut survey = Survey { metadata_bytes: subject.metadata_bytes() as u64, ..Survey::default() };
    let base = region.addr().get();
    let mut books = Books { base, length: region.len(), ..Books::default() };
    books.objects.resize(program.slots, core::ptr::null_mut());
    let start = clock::thread_ns();
    for (index, op) in program.ops.iter().enumerate() {
        if let Err(breach) = books.step(&mut *subject, op) {
            survey.breach = Some((breach, index));
            break;
        }
        survey.ops = index + 1;
        if index % 4096 == 0 && clock::thread_ns() - start > limit_ns {
            break;
        }
    }
    if survey.ops == program.ops.len() {
        let freed = program.survivors.iter().try_for_each(|op| books.step(&mut *subject, op));
        let mut kept = || subject.settle().is_some_and(|frames| frames != 0);
        let breach = freed.err().or_else(|| kept().then_some(Breach::Kept));
        survey.breach = breach.map(|breach| (breach, survey.ops));
    }
    (survey.failed, survey.peak_used) = (books.failed, books.extent as u64);
    Some(survey)
}

#[derive(Debug, Default)]
struct Books {
    base: usize,
    length: usize,
    objects: Vec<*mut u8>,
    /// Size by address.
    live: BTreeMap<usize, usize>,
    bytes: usize,
    failed: u64,
    extent: usize,
}

impl Books {
    fn step<S: Subject>(&mut self, subject: &mut S, op: &Op) -> Result<(), Breach> {
        let (slot, size) = (op.slot as usize, op.size as usize);
        let object = self.objects[slot];
        match op.kind {
            OpKind::Cpu => subject.enter(size),
            OpKind::Free if object.is_null() => {}
            OpKind::Free => {
                self.live.remove(&object.addr());
                self.bytes -= size;
                if !holds(object, size, slot) {
                    return Err(Breach::LostBytes);
                }
                // SAFETY: the object is live with this layout.
                unsafe { subject.free(usize::from(op.cache), object, op.layout()) };
                self.objects[slot] = core::ptr::null_mut();
            }
            OpKind::Allocate | OpKind::AllocateZeroed => {
                let object = subject.allocate(usize::from(op.cache), op.layout());
                self.objects[slot] = object;
                if object.is_null() {
                    self.failed += 1;
                    return if (self.bytes + size) * 2 < self.length { Err(Breach::Refused) } else { Ok(()) };
                }
                self.enter(object.addr(), size)?;
                fill(object, size, slot);
            }
        }
        Ok(())
    }

    /// An object that comes to life: where it may lie.
    fn enter(&mut self, at: usize, size: usize) -> Result<(), Breach> {
        if !at.is_multiple_of(ALIGN) {
            return Err(Breach::Misaligned);
        }
        if at < self.base || at + size > self.base + self.length {
            return Err(Breach::Outside);
        }
        let before = self.live.range(..at + size).next_back();
        if before.is_some_and(|(start, length)| start + length > at)
            && !cfg!(hectare_plant = "objects_overlap")
        {
            return Err(Breach::Overlap);
        }
        self.live.insert(at, size);
        self.bytes += size;
        self.extent = self.extent.max(at + size - self.base);
        Ok(())
    }
}

/// Bytes that tell the object and their place in it.
fn byte(slot: usize, index: usize) -> u8 {
    (slot.wrapping_mul(0x9e37_79b9) >> 11) as u8 ^ index as u8
}

fn fill(object: *mut u8, size: usize, slot: usize) {
    // SAFETY: the object is live and valid for its size; nothing else refers to it meanwhile.
    let bytes = unsafe { core::slice::from_raw_parts_mut(object.cast::<core::mem::MaybeUninit<u8>>(), size) };
    for (index, place) in bytes.iter_mut().enumerate() {
        place.write(byte(slot, index));
    }
}

fn holds(object: *mut u8, size: usize, slot: usize) -> bool {
    // SAFETY: the object is live, valid for its size, and was filled; nothing writes to it meanwhile.
    let bytes = unsafe { core::slice::from_raw_parts(object, size) };
    bytes.iter().enumerate().all(|(index, found)| *found == byte(slot, index))
}
