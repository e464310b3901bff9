//! The rules that every block keeps: aligned, inside the arena, apart from the others, zero if asked, and with the
//! contents that were written.

use core::ptr::NonNull;

use serde::{Deserialize, Serialize};

use super::program::{Op, OpKind};
use super::shadow::Shadow;
use super::survey::Sample;
use crate::subject::Subject;

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

/// The program's objects and the rules that they keep.
pub(super) struct Checker<'a, S> {
    subject: &'a mut S,
    arena: NonNull<[u8]>,
    pub(super) shadow: Shadow,
    /// Address and pattern of each live object; null = refused.
    blocks: Vec<(*mut u8, u64)>,
    pub(super) failed: u64,
    pub(super) refused_in_vain: Option<usize>,
    /// The first breach that does not end the pass.
    pub(super) mild: Option<(Breach, usize)>,
    live: u64,
    pub(super) extent: usize,
}

impl<'a, S: Subject> Checker<'a, S> {
    /// Nothing is live.
    pub(super) fn new(subject: &'a mut S, arena: NonNull<[u8]>, slots: usize) -> Self {
        let blocks = vec![(core::ptr::null_mut(), 0); slots];
        let shadow = Shadow::default();
        Self {
            subject,
            arena,
            shadow,
            blocks,
            failed: 0,
            refused_in_vain: None,
            mild: None,
            live: 0,
            extent: 0,
        }
    }

    /// Does one operation and checks what can be seen of it.
    pub(super) fn step(&mut self, index: usize, op: &Op) -> Result<(), Breach> {
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

    /// The heap now.
    pub(super) fn sample(&self) -> Sample {
        if S::HOSTED {
            return Sample { live: self.live, ..Sample::default() };
        }
        let base = self.arena.addr().get();
        let holes = self.shadow.holes(base, base + self.extent);
        let (external, unusable_2m) = (holes.external(), holes.unusable_2m());
        Sample { live: self.live, extent: self.extent as u64, external, unusable_2m, holes: holes.count }
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
