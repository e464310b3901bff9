//! The words, and what they are of: all of the engine but the CPUs that use it.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use hectare_core::sync::atomic::AtomicU64;
use hectare_core::sync::hint;
use hectare_core::{Frame, FrameRun, FreeError, RegionError};

use crate::banks::Banks;
use crate::geometry::Geometry;
use crate::shared::bits::{self, blocks};
use crate::shared::hand::Hand;
use crate::shared::layout::Layout;

/// How often a refusal or a check of a bad free looks again while others carry frames from word to word. Each of their
/// moves is some tens of instructions; who waits longer waits for a CPU that was stopped inside one.
const PATIENCE: u32 = if cfg!(hectare_loom) { u32::MAX } else { 1 << 24 };

/// The rows; see [`Shared`](super::Shared).
#[derive(Debug)]
pub(super) struct Rows<'m, G: Geometry> {
    pub(super) words: &'m [AtomicU64],
    pub(super) layout: Layout,
    pub(super) banks: Banks<'m>,
    /// The largest bank: first frame and length.
    main: (u64, u64),
    _geometry: PhantomData<fn() -> G>,
}

impl<'m, G: Geometry> Rows<'m, G> {
    /// In the banks nothing is free.
    pub(super) fn all_allocated(
        span: FrameRun,
        banks: Banks<'m>,
        words: &'m [AtomicU64],
        slots: u32,
    ) -> Result<Self, RegionError> {
        if banks.iter().any(|bank| !span.contains(bank)) {
            return Err(RegionError::BadRange);
        }
        // loom's words are larger, and where they lie is not the same in every run.
        let skip = if cfg!(hectare_loom) { 0 } else { words.as_ptr().align_offset(64) };
        let skip = if skip < 8 { skip } else { 0 };
        let layout = Layout::over::<G>(span, slots, skip).ok_or(RegionError::TooLarge)?;
        let words = words.get(..layout.words).ok_or(RegionError::TooSmall)?;
        let main = banks.iter().max_by_key(|bank| bank.count());
        let main = main.map_or((0, 0), |bank| (bank.first().number(), bank.count()));
        let rows = Self { words, layout, banks, main, _geometry: PhantomData };
        (0..layout.words).for_each(|at| rows.store(at, 0));
        Ok(rows)
    }
}

impl<G: Geometry> Rows<'_, G> {
    /// Whether one bank holds all these frames.
    #[inline(always)]
    pub(super) fn manages(&self, first: Frame, count: u64) -> bool {
        let (start, length) = self.main;
        let distance = first.number().wrapping_sub(start);
        distance < length && count <= length - distance || self.banks.hold(first, count)
    }

    /// A frame's distance from the origin. Meant for frames in a bank: others wrap.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the layout's distances fit usize")]
    pub(super) fn offset(&self, frame: Frame) -> usize {
        frame.number().wrapping_sub(self.layout.origin) as usize
    }

    /// The frame at a distance from the origin.
    #[inline(always)]
    pub(super) fn frame(&self, offset: usize) -> Frame {
        Frame::new(self.layout.origin.wrapping_add(offset as u64))
    }

    /// The largest order that a block can have.
    #[expect(clippy::cast_possible_truncation, reason = "at most 8 levels")]
    pub(super) fn largest(&self) -> u32 {
        self.layout.count as u32 * G::LOG2 - 1
    }

    /// Whether a run is one aligned block, which is checked as it is given back.
    pub(super) fn is_block(&self, offset: usize, count: u64) -> bool {
        blocks(offset, count, self.largest()).next().is_some_and(|(_, order)| 1 << order == count)
    }

    /// Whether no frame of a run is free.
    pub(super) fn is_run_allocated(&self, hand: &Hand, offset: usize, count: u64) -> bool {
        blocks(offset, count, self.largest()).all(|(at, order)| {
            let (level, class) = bits::place_of::<G>(order);
            let unit = bits::unit_of::<G>(level, at);
            let mask = bits::low(class) << bits::number::<G>(unit);
            self.are_units_allocated(hand, level, unit >> G::LOG2, mask)
        })
    }

    /// Takes a run back whose frames all lie in a bank and are allocated.
    pub(super) fn give_run(&self, hand: &mut Hand, offset: usize, count: u64) -> Result<(), FreeError> {
        blocks(offset, count, self.largest()).try_for_each(|(at, order)| self.give(hand, at, order))
    }

    /// Takes a run back whose frames the caller holds.
    pub(super) fn give_held(&self, hand: &mut Hand, offset: usize, count: u64) {
        let given = self.give_run(hand, offset, count);
        debug_assert!(given.is_ok(), "a run was given back that is not allocated");
    }

    /// Asks until there is an answer, or patience ends.
    pub(super) fn patiently<T>(&self, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..PATIENCE {
            if let Some(answer) = ask() {
                return Some(answer);
            }
            hint::spin_loop();
        }
        None
    }
}
