//! The checked pass, not timed: contents, alignment and overlap of every block, and what the heap looks like from
//! outside as time goes by.

use core::ptr::NonNull;

use serde::{Deserialize, Serialize};

use super::program::{Op, OpKind, Program};
use super::shadow::Shadow;
use crate::arena::Arena;
use crate::clock;
use crate::subject::Subject;

/// Points of the curves over time.
const SAMPLES: usize = 160;
/// Rows and most columns of the heap map. The columns span three times the peak, from the lowest block ever on.
const MAP_ROWS: usize = 64;
const MAP_COLUMNS: usize = 384;

/// A promise that the allocator broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breach {
    /// A block overlaps a live one.
    Overlap,
    /// A block is not aligned as asked (to at least 16).
    Misaligned,
    /// A block lies outside the arena.
    Outside,
    /// Memory asked for as zeros is not zero.
    NotZeroed,
    /// A live block's contents changed.
    LostBytes,
}

/// The heap at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Requested bytes that are live.
    pub live: u64,
    /// The highest extent handed out so far, from the beginning of the arena.
    pub extent: u64,
    /// External fragmentation below that extent.
    pub external: f64,
    /// Share of the free bytes below it that is useless for 2 MiB.
    pub unusable_2m: f64,
}

/// Where the live blocks lie over time: rows of time, columns of addresses, the share that is live in 255ths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Map {
    /// Bytes a column stands for.
    pub column_bytes: u64,
    /// Bytes from the beginning of the arena to the first column.
    pub first: u64,
    /// Columns in a row.
    pub columns: usize,
    /// Row after row, two hexadecimal digits a cell.
    pub cells: String,
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
    /// The first operation that was refused although a hole exceeded the request by a sixteenth of the arena, which
    /// leaves room for any metadata.
    pub refused_in_vain: Option<usize>,
    /// The highest extent handed out, in bytes from the beginning of the arena.
    pub peak_used: u64,
    /// The heap just after the peak of live bytes, if the pass came so far.
    pub at_peak: Option<Sample>,
    /// Control structures, in bytes.
    pub metadata_bytes: u64,
    /// The curves.
    pub samples: Vec<Sample>,
    /// The heap map.
    pub map: Map,
}

struct Checker<'a, S> {
    subject: &'a mut S,
    arena: NonNull<[u8]>,
    shadow: Shadow,
    /// Address and pattern of each live object; null = refused.
    blocks: Vec<(*mut u8, u64)>,
    failed: u64,
    refused_in_vain: Option<usize>,
    /// The first breach that does not end the pass.
    mild: Option<(Breach, usize)>,
    live: u64,
    extent: usize,
}

/// Replays the program once with a new `S` and checks everything, in the first `bytes` of the
/// arena, for at most `limit_ns` of CPU time. `None` if they do not suffice to begin.
pub fn survey<S: Subject>(
    program: &Program,
    arena: &mut Arena,
    bytes: usize,
    limit_ns: u64,
) -> Option<Survey> {
    let arena = arena.region(bytes);
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let mut subject = unsafe { S::build(arena) }?;
    let metadata_bytes = subject.metadata_bytes() as u64;
    let mut checker = Checker {
        subject: &mut *subject,
        arena,
        shadow: Shadow::default(),
        blocks: vec![(core::ptr::null_mut(), 0); program.slots()],
        failed: 0,
        refused_in_vain: None,
        mild: None,
        live: 0,
        extent: 0,
    };
    let mut survey = Survey { metadata_bytes, ..Survey::default() };
    let column = (3 * program.peak_bytes() / MAP_COLUMNS as u64).next_multiple_of(1024).max(1024) as usize;
    let mut picture = Picture { column, columns: arena.len() / column, rows: Vec::new() };
    let start = clock::thread_ns();
    let count = program.ops().len();
    let is_nth = |index: usize, n: usize| (index + 1) * n / count != index * n / count;
    for (index, op) in program.ops().iter().enumerate() {
        if let Err(breach) = checker.step(index, op) {
            survey.breach = Some((breach, index));
            break;
        }
        survey.ops = index + 1;
        if index == program.peak_at() {
            survey.at_peak = Some(checker.sample::<S>());
        }
        if is_nth(index, SAMPLES) {
            survey.samples.push(checker.sample::<S>());
            if clock::thread_ns() - start > limit_ns {
                break;
            }
        }
        if !S::HOSTED && is_nth(index, MAP_ROWS) {
            picture.rows.push(checker.shadow.density(arena.addr().get(), column, picture.columns));
        }
    }
    if survey.ops == count {
        for op in program.survivors() {
            if let (None, Err(breach)) = (&survey.breach, checker.step(count, op)) {
                survey.breach = Some((breach, count));
            }
        }
    }
    survey.map = picture.crop((3 * program.peak_bytes() as usize).div_ceil(column));
    survey.breach = survey.breach.or(checker.mild.take());
    (survey.failed, survey.refused_in_vain) = (checker.failed, checker.refused_in_vain);
    survey.peak_used = checker.extent as u64;
    Some(survey)
}

/// The heap map of the whole arena.
struct Picture {
    column: usize,
    columns: usize,
    rows: Vec<Vec<u8>>,
}

impl Picture {
    /// The part that begins with the lowest block that ever lived.
    fn crop(&self, columns: usize) -> Map {
        let lowest =
            self.rows.iter().filter_map(|row| row.iter().position(|&cell| cell > 0)).min().unwrap_or(0);
        let columns = columns.min(self.columns - lowest.min(self.columns));
        let cells = self.rows.iter().flat_map(|row| &row[lowest..lowest + columns]);
        Map {
            column_bytes: self.column as u64,
            first: (lowest * self.column) as u64,
            columns,
            cells: cells.map(|cell| format!("{cell:02x}")).collect(),
        }
    }
}

impl<S: Subject> Checker<'_, S> {
    fn step(&mut self, index: usize, op: &Op) -> Result<(), Breach> {
        let slot = op.slot as usize;
        let (block, seed) = self.blocks[slot];
        let old = if block.is_null() { 0 } else { op.old };
        self.live = self.live + u64::from(op.size) - u64::from(old);
        match op.kind {
            OpKind::Free => {
                self.blocks[slot].0 = core::ptr::null_mut();
                if !block.is_null() {
                    self.retire(block, op.old as usize, seed)?;
                    // SAFETY: the block is live with this layout.
                    unsafe { self.subject.deallocate(block, op.old_layout()) };
                }
                Ok(())
            }
            OpKind::Reallocate if !block.is_null() => {
                self.retire(block, op.old as usize, seed)?;
                // SAFETY: the block is live with this layout, and the new size is not 0.
                let new = unsafe { self.subject.reallocate(block, op.old_layout(), op.size as usize) };
                if new.is_null() {
                    // SAFETY: a refused resize leaves the block as it was.
                    unsafe { self.subject.deallocate(block, op.old_layout()) };
                    self.blocks[slot].0 = new;
                    self.refused(index, op);
                    return Ok(());
                }
                self.enter(index, new, op)?;
                if !pattern_holds(new, op.old.min(op.size) as usize, seed) {
                    return Err(Breach::LostBytes);
                }
                self.blocks[slot] = (new, index as u64);
                fill(new, op.size as usize, index as u64);
                Ok(())
            }
            _ => {
                let zeroed = op.kind == OpKind::AllocateZeroed;
                let layout = op.layout();
                let new =
                    if zeroed { self.subject.allocate_zeroed(layout) } else { self.subject.allocate(layout) };
                self.blocks[slot] = (new, index as u64);
                if new.is_null() {
                    self.refused(index, op);
                    return Ok(());
                }
                self.enter(index, new, op)?;
                // SAFETY: the block is valid for its size, and nothing else writes to it meanwhile.
                let bytes = unsafe { core::slice::from_raw_parts(new, op.size as usize) };
                if zeroed && bytes.iter().any(|&byte| byte != 0) {
                    self.mild.get_or_insert((Breach::NotZeroed, index));
                }
                fill(new, op.size as usize, index as u64);
                Ok(())
            }
        }
    }

    /// A block that comes to life: where it may lie.
    fn enter(&mut self, index: usize, block: *mut u8, op: &Op) -> Result<(), Breach> {
        let (address, size) = (block.addr(), op.size as usize);
        if address % op.layout().align() != 0 {
            self.mild.get_or_insert((Breach::Misaligned, index));
        }
        if address % 16 != 0 {
            return Err(Breach::Misaligned);
        }
        if !S::HOSTED {
            let base = self.arena.addr().get();
            if address < base || address + size > base + self.arena.len() {
                return Err(Breach::Outside);
            }
            self.extent = self.extent.max(address + size - base);
        }
        self.shadow.insert(address, size).map_err(|_| Breach::Overlap)
    }

    /// A block that ends or moves: are its contents what was written?
    fn retire(&mut self, block: *mut u8, size: usize, seed: u64) -> Result<(), Breach> {
        self.shadow.remove(block.addr(), size);
        if pattern_holds(block, size, seed) { Ok(()) } else { Err(Breach::LostBytes) }
    }

    fn refused(&mut self, index: usize, op: &Op) {
        self.failed += 1;
        self.live -= u64::from(op.size);
        let base = self.arena.addr().get();
        let enough = u64::from(op.size) + (1 << op.align_log2) + self.arena.len() as u64 / 16;
        // Looking for holes is slow: the first refusals suffice.
        if !S::HOSTED
            && self.failed <= 16
            && self.refused_in_vain.is_none()
            && self.shadow.holes(base, base + self.arena.len()).largest > enough
        {
            self.refused_in_vain = Some(index);
        }
    }

    fn sample<T: Subject>(&self) -> Sample {
        if T::HOSTED {
            return Sample { live: self.live, ..Sample::default() };
        }
        let base = self.arena.addr().get();
        let holes = self.shadow.holes(base, base + self.extent);
        let (external, unusable_2m) = (holes.external(), holes.unusable_2m());
        Sample { live: self.live, extent: self.extent as u64, external, unusable_2m }
    }
}

/// The pattern of a block: 8-byte words that tell the block (`seed`) and their place in it.
fn word(seed: u64, index: usize) -> [u8; 8] {
    (seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (index as u64).wrapping_mul(0x0101_0101_0101_0101))
    .to_le_bytes()
}

fn fill(block: *mut u8, size: usize, seed: u64) {
    // SAFETY: the block is live and valid for its size; nothing else refers to it meanwhile.
    let bytes = unsafe { core::slice::from_raw_parts_mut(block, size) };
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = word(seed, index);
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

fn pattern_holds(block: *mut u8, size: usize, seed: u64) -> bool {
    // SAFETY: the block is live and valid for its size; nothing writes to it meanwhile.
    let bytes = unsafe { core::slice::from_raw_parts(block, size) };
    cfg!(hectare_plant = "survey_contents")
        || bytes.chunks(8).enumerate().all(|(index, chunk)| chunk == &word(seed, index)[..chunk.len()])
}

impl Breach {
    /// Whether running on could harm the process that does it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Misaligned | Self::NotZeroed)
    }

    /// In words.
    #[must_use]
    pub fn phrase(&self) -> &'static str {
        match self {
            Self::Overlap => "overlapping blocks",
            Self::Misaligned => "a misaligned block",
            Self::Outside => "a block outside the arena",
            Self::NotZeroed => "memory that should be zero is not",
            Self::LostBytes => "a live block's contents changed",
        }
    }
}
