//! The model of a source of page frames: numbers, and the memory behind them if a window shows it.
#![expect(unsafe_code, reason = "gives frames back and writes to them")]

use core::num::NonZero;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use hectare_core::{FrameRequest, FrameRun, FrameSource, Order, PhysWindow, Violation};

use super::contents::Limit;
use super::{Breach, Counts, Model, Space};
use crate::op::FrameOp;

/// A check of the whole source, with the shadow: broken invariants are its errors.
type Check<S> = fn(&S) -> Result<(), Violation>;

/// A source of frames and its shadow.
///
/// # Invariants
/// * each entry of `runs` is a run that the source handed out, or the part of one if it takes parts; if a window shows
///   them, their ends are filled with the pattern of their identity
/// * `space` has the same runs and the source's frames, by number
#[derive(Debug)]
pub struct FrameModel<S, W> {
    source: S,
    window: Option<W>,
    runs: BTreeMap<u32, (FrameRun, u64)>,
    space: Space,
    next_id: u64,
    parts: bool,
    complete: bool,
    check: Check<S>,
    check_empty: Check<S>,
    counts: Counts,
}

/// Each frame is written and looked at in its first and last so many bytes.
const LOOKED_AT: Limit = Limit(32);

impl<S: FrameSource, W: PhysWindow> FrameModel<S, W> {
    /// A model of a source all of whose frames lie in `frames`. `window`, if given, shows their memory.
    #[must_use]
    pub fn new(source: S, frames: &[FrameRun], window: Option<W>) -> Self {
        let regions = frames.iter().map(|run| run.first().number()..run.end().number()).collect();
        Self {
            source,
            window,
            runs: BTreeMap::new(),
            space: Space::new(regions),
            next_id: 0,
            parts: false,
            complete: false,
            check: |_| Ok(()),
            check_empty: |_| Ok(()),
            counts: Counts::default(),
        }
    }

    /// The source takes parts of runs back.
    #[must_use]
    pub fn taking_parts(mut self) -> Self {
        self.parts = true;
        self
    }

    /// The source refuses a request only if no run would do.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    /// What to check between operations, and when everything was given back.
    #[must_use]
    pub fn checking(mut self, check: Check<S>, check_empty: Check<S>) -> Self {
        (self.check, self.check_empty) = (check, check_empty);
        self
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The runs and the source's frames, by number.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The memory of each frame of a run that the window shows, and its number.
    fn memory(&self, run: FrameRun) -> impl Iterator<Item = (u64, NonNull<u8>)> {
        let size = S::FRAME_SIZE;
        run.iter().filter_map(move |frame| {
            let pointer = self.window.as_ref()?.pointer(frame.start(size)?, size.bytes())?;
            Some((frame.number(), pointer))
        })
    }

    fn bytes() -> usize {
        usize::try_from(S::FRAME_SIZE.bytes()).unwrap_or(usize::MAX)
    }

    fn write(&self, run: FrameRun, id: u64) {
        for (frame, pointer) in self.memory(run) {
            // SAFETY: the frame is ours: handed out, in bounds and apart from other runs; the window shows all of it.
            unsafe { LOOKED_AT.write(pointer, Self::bytes(), id.wrapping_add(frame << 32)) };
        }
    }

    fn check_run(&self, slot: u32, run: FrameRun, id: u64) -> Result<(), Breach> {
        for (frame, pointer) in self.memory(run) {
            let (size, id) = (Self::bytes(), id.wrapping_add(frame << 32));
            // SAFETY: as in `write`, which filled it.
            if let Some(at) = unsafe { LOOKED_AT.lost(pointer, size, size, id) } {
                let before = (frame - run.first().number()) * S::FRAME_SIZE.bytes();
                return Err(Breach::Lost { slot, at: before + at as u64 });
            }
        }
        Ok(())
    }

    fn allocate(&mut self, slot: u32, request: FrameRequest) -> Result<(), Breach> {
        self.free(slot)?;
        let run = match self.source.allocate_frames(request) {
            Ok(run) => run,
            Err(error) => {
                self.counts.refused += 1;
                let (count, align) = (request.count.get(), request.align.frames());
                return if self.complete { self.space.refused(count, align, error) } else { Ok(()) };
            }
        };
        self.counts.allocated += 1;
        if run.count() != request.count.get() {
            return Err(Breach::Length { asked: request.count.get(), found: run.count() });
        }
        self.space.insert(run.first().number(), run.count(), request.align.frames())?;
        self.next_id += 1;
        self.write(run, self.next_id);
        self.runs.insert(slot, (run, self.next_id));
        Ok(())
    }

    fn free(&mut self, slot: u32) -> Result<(), Breach> {
        let Some((run, id)) = self.runs.remove(&slot) else { return Ok(()) };
        self.check_run(slot, run, id)?;
        self.space.remove(run.first().number());
        self.counts.freed += 1;
        // SAFETY: the run (or part, if the source takes parts) is ours and was just forgotten.
        unsafe { self.source.free_frames(run) }.map_err(|error| Breach::FreeRefused { slot, error })
    }

    fn split(&mut self, slot: u32, count: u64, rest: u32) -> Result<(), Breach> {
        let Some((run, id)) = self.runs.get(&slot).copied() else { return Ok(()) };
        let parts = run.first().checked_add(count).and_then(|middle| {
            Some((
                FrameRun::new(run.first(), count)?,
                FrameRun::new(middle, run.count().checked_sub(count)?)?,
            ))
        });
        let Some((first, second)) = parts.filter(|_| self.parts && slot != rest) else { return Ok(()) };
        self.free(rest)?;
        self.space.remove(first.first().number());
        self.space.insert(first.first().number(), first.count(), 1)?;
        self.space.insert(second.first().number(), second.count(), 1)?;
        self.runs.insert(slot, (first, id));
        self.runs.insert(rest, (second, id));
        self.counts.regions += 1;
        Ok(())
    }
}

impl<S: FrameSource, W: PhysWindow> Model for FrameModel<S, W> {
    type Op = FrameOp;

    fn step(&mut self, op: FrameOp) -> Result<(), Breach> {
        match op {
            FrameOp::Allocate { slot, count, align } => {
                let count = NonZero::new(count).unwrap_or(NonZero::<u64>::MIN);
                let align = Order::new(align).unwrap_or_default();
                self.allocate(slot, FrameRequest { count, align })
            }
            FrameOp::Free { slot } => self.free(slot),
            FrameOp::Split { slot, count, rest } => self.split(slot, count, rest),
        }
    }

    fn check(&mut self) -> Result<(), Breach> {
        (self.check)(&self.source)?;
        self.runs.iter().try_for_each(|(slot, (run, id))| self.check_run(*slot, *run, *id))
    }

    fn finish(&mut self) -> Result<(), Breach> {
        while let Some((slot, _)) = self.runs.first_key_value() {
            self.free(*slot)?;
        }
        self.check()?;
        (self.check_empty)(&self.source).map_err(|violation| Breach::NotEmpty(violation.to_string()))
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
