//! Several engines as zones of one machine: fallback, watermarks, and the text of `/proc/buddyinfo`.
//!
//! ```text
//!   wanted: Normal     Normal ──► DMA32 ──► DMA        each zone keeps its watermark, and the lower ones also what is
//!   wanted: DMA32                 DMA32 ──► DMA        protected from requests that wanted a higher one
//!   wanted: DMA                             DMA
//! ```
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{
    AllocError, CheckInvariants, Figures, Fragmentation, FrameRun, FreeError, Ratio, Usage, Violation,
};

use crate::engine::Engine;
use crate::geometry::{Geometry, Rows64};
use crate::request::Request;

/// How many frames stay free in a zone for whom. [`Zones`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Below this only urgent requests are served.
    pub min: u64,
    /// Below this an ordinary request goes to the next zone, if that has more than its own `low`. Counts as at least
    /// `min`. A caller that reclaims memory begins when a zone [is low](Zone::is_low).
    pub low: u64,
    /// Up to this a caller that reclaims memory goes on. The zones do not use it.
    pub high: u64,
    /// So many frames more stay free for requests that want this zone itself: the ratio that protects low memory.
    pub protected: u64,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Leaves what the watermarks keep.
    #[default]
    Ordinary,
    /// May have the last frame: whoever frees memory with it.
    Urgent,
}

/// A part of memory with a name. [`Zones`] has an example.
#[derive(Debug)]
pub struct Zone<'m, G: Geometry = Rows64> {
    /// The node (of memory near to some CPUs) that it belongs to.
    pub node: u32,
    /// Its name, as `/proc/buddyinfo` shows it: `DMA`, `DMA32`, `Normal`.
    pub name: &'static str,
    /// What it keeps.
    pub watermarks: Watermarks,
    /// Its frames.
    pub frames: Engine<'m, G>,
}

impl<'m, G: Geometry> Zone<'m, G> {
    /// A zone of node 0 that keeps nothing.
    #[must_use]
    pub const fn new(name: &'static str, frames: Engine<'m, G>) -> Self {
        let watermarks = Watermarks { min: 0, low: 0, high: 0, protected: 0 };
        Self { node: 0, name, watermarks, frames }
    }

    /// On a node.
    #[must_use]
    pub fn on_node(self, node: u32) -> Self {
        Self { node, ..self }
    }

    /// With watermarks.
    #[must_use]
    pub fn keeping(self, watermarks: Watermarks) -> Self {
        Self { watermarks, ..self }
    }

    /// Whether fewer frames are free than the low watermark: time to reclaim memory.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.frames.free_frames() < self.watermarks.low
    }

    /// Whether `mark` frames stay free, and the protected ones for a request that wanted another zone.
    fn spares(&self, count: u64, mark: u64, wanted: bool) -> bool {
        let kept = mark.saturating_add(if wanted { 0 } else { self.watermarks.protected });
        self.frames.free_frames().checked_sub(count).is_some_and(|left| left >= kept)
    }
}

/// N zones, and for each the order in which the others are asked when it has no more.
///
/// Without other instruction a zone falls back on those before it in the array, nearest first: `[DMA, DMA32, Normal]`
/// is Linux's list. For nodes, [`falling_back`](Self::falling_back) sets the order of distance.
///
/// ```
/// use core::num::NonZero;
/// use hectare_buddy::{Request, Urgency, Watermarks, Zone, Zones};
/// # use hectare_buddy::{Banks, Engine, Rows64, words_for};
/// # use hectare_core::{AllocError, Frame, FrameRun};
/// # let runs = [0, 0x1000].map(|first| FrameRun::new(Frame::new(first), 64).expect("not empty"));
/// # let (mut tables, mut words) = ([[None; 1]; 2], runs.map(|run| vec![0; words_for::<Rows64>(run).expect("few")]));
/// # let mut engines = runs.iter().zip(&mut tables).zip(&mut words).map(|((run, table), words)| {
/// #     let mut banks = Banks::new(table);
/// #     banks.add(*run).expect("room for one");
/// #     Engine::<Rows64>::new(banks, words).expect("enough words")
/// # });
/// # let (low, high) = (engines.next().expect("two"), engines.next().expect("two"));
///
/// // `low` has 64 frames that an old device reaches, `high` 64 others.
/// let marks = Watermarks { min: 4, low: 8, high: 16, protected: 0 };
/// let dma = Zone::new("DMA", low).keeping(Watermarks { protected: 32, ..marks });
/// let normal = Zone::new("Normal", high).keeping(marks);
/// let mut zones = Zones::new([dma, normal]).expect("no frame is in both");
///
/// // Who wants Normal (zone 1) gets 64 - 4 frames of it, and what DMA has above 4 + 32.
/// let one = Request::exactly(NonZero::<u64>::MIN);
/// let taken = core::iter::from_fn(|| zones.allocate(1, one, Urgency::Ordinary).ok()).count();
/// assert_eq!(taken, 60 + 28);
/// assert!(zones.zones()[1].is_low()); // time to reclaim memory
///
/// // Who wants DMA is served still, and so is whoever frees memory with what he gets.
/// let buffer = zones.allocate(0, one, Urgency::Ordinary)?;
/// let last = zones.allocate(1, one, Urgency::Urgent)?;
/// assert!(buffer.first() < Frame::new(64) && last.first() >= Frame::new(0x1000));
/// zones.free(buffer).expect("allocated"); // it goes back to the zone that it came from
/// # Ok::<(), AllocError>(())
/// ```
///
/// # Invariants
/// * each zone keeps its own ([`Engine`]); no frame belongs to two
/// * a list of fallbacks names zones that exist, or ends
#[derive(Debug)]
pub struct Zones<'m, const N: usize, G: Geometry = Rows64> {
    zones: [Zone<'m, G>; N],
    fallback: [[usize; N]; N],
}

/// The end of a list of fallbacks.
const END: usize = usize::MAX;

impl<'m, const N: usize, G: Geometry> Zones<'m, N, G> {
    /// These zones, each falling back on those before it. The first with a frame that another has too is the error.
    ///
    /// # Errors
    /// The number of a zone with a bank that overlaps one of an earlier zone.
    pub fn new(zones: [Zone<'m, G>; N]) -> Result<Self, usize> {
        for (number, zone) in zones.iter().enumerate() {
            let banks = || zones.iter().take(number).flat_map(|other| other.frames.banks().iter());
            if zone.frames.banks().iter().any(|bank| banks().any(|other| other.overlaps(bank))) {
                return Err(number);
            }
        }
        let fallback = core::array::from_fn(|wanted| {
            core::array::from_fn(|step| wanted.checked_sub(step).unwrap_or(END))
        });
        Ok(Self { zones, fallback })
    }

    /// Requests that want zone `wanted` ask these zones, in this order; it should be the first itself. Unknown numbers,
    /// and what exceeds N, are ignored.
    #[must_use]
    pub fn falling_back(mut self, wanted: usize, order: &[usize]) -> Self {
        if let Some(list) = self.fallback.get_mut(wanted) {
            *list = [END; N];
            let known = order.iter().filter(|zone| **zone < N);
            list.iter_mut().zip(known).for_each(|(place, zone)| *place = *zone);
        }
        self
    }

    /// The zones.
    #[must_use]
    pub const fn zones(&self) -> &[Zone<'m, G>; N] {
        &self.zones
    }

    /// Takes a run from zone `wanted` or one that it falls back on.
    ///
    /// An ordinary request first asks all of them for what they have above the low watermark, then above the minimum.
    /// O(N) times the cost of [`Engine::allocate`].
    ///
    /// # Errors
    /// Fails iff none of these zones has such a run that it may give away: [`AllocError::TooLarge`] if none ever had,
    /// [`AllocError::Fragmented`] if one has enough frames to spare, else [`AllocError::OutOfMemory`].
    pub fn allocate(
        &mut self,
        wanted: usize,
        request: Request,
        urgency: Urgency,
    ) -> Result<FrameRun, AllocError> {
        let list = self.fallback.get(wanted).copied().unwrap_or([END; N]);
        let passes: &[fn(&Watermarks) -> u64] = match urgency {
            Urgency::Ordinary => &[|marks| marks.low.max(marks.min), |marks| marks.min],
            Urgency::Urgent => &[|_| 0],
        };
        let (mut spare, mut possible) = (false, false);
        for mark in passes {
            for number in list {
                let Some(zone) = self.zones.get_mut(number) else { continue };
                let (count, own) = (request.count.get(), number == wanted || urgency == Urgency::Urgent);
                possible |= zone.frames.capacity() >= count;
                if zone.spares(count, mark(&zone.watermarks), own) {
                    spare = true;
                    if let Ok(run) = zone.frames.allocate(request) {
                        return Ok(run);
                    }
                }
            }
        }
        Err(match (possible, spare) {
            (false, _) => AllocError::TooLarge,
            (_, true) => AllocError::Fragmented,
            _ => AllocError::OutOfMemory,
        })
    }

    /// Gives back any run of allocated frames of one zone. O(N) and the cost of [`Engine::free`].
    ///
    /// # Errors
    /// [`FreeError::Foreign`] if no zone manages all of them, [`FreeError::NotAllocated`] if one is free already. Nothing
    /// is changed then.
    pub fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let owner = self.zones.iter_mut().find(|zone| zone.frames.banks().hold(run.first(), run.count()));
        owner.ok_or(FreeError::Foreign)?.frames.free(run)
    }

    /// A zone's engine, for what only an engine does.
    pub fn engine(&mut self, zone: usize) -> Option<&mut Engine<'m, G>> {
        self.zones.get_mut(zone).map(|zone| &mut zone.frames)
    }
}

impl<const N: usize, G: Geometry> fmt::Display for Zones<'_, N, G> {
    /// As `/proc/buddyinfo`: a line for each zone with its free blocks of orders 0 to 10.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.zones.iter().try_for_each(|zone| {
            writeln!(f, "Node {}, zone {:>8} {}", zone.node, zone.name, zone.frames.census())
        })
    }
}

impl<const N: usize, G: Geometry> Figures for Zones<'_, N, G> {
    /// The sums over all zones, in frames. The peak is the sum of the zones' peaks. O(N).
    fn usage(&self) -> Usage {
        let mut sum = Usage::new(1, 0, 0);
        for usage in self.zones.iter().map(|zone| zone.frames.usage()) {
            sum.capacity += usage.capacity;
            sum.allocated += usage.allocated;
            sum.free += usage.free;
            sum.peak_allocated += usage.peak_allocated;
            sum.failures.out_of_memory += usage.failures.out_of_memory;
            sum.failures.fragmented += usage.failures.fragmented;
        }
        sum
    }

    /// Over all zones; a hole ends where its zone does. O(rows).
    fn fragmentation(&self) -> Fragmentation {
        self.zones.iter().map(|zone| zone.frames.fragmentation()).fold(
            Fragmentation::default(),
            |sum, zone| {
                Fragmentation::new(
                    sum.free + zone.free,
                    sum.largest.max(zone.largest),
                    sum.holes + zone.holes,
                )
            },
        )
    }

    /// Over all zones. O(rows).
    fn unusable(&self, units: u64) -> Ratio {
        self.zones
            .iter()
            .map(|zone| zone.frames.unusable(units))
            .fold(Ratio::default(), |sum, zone| Ratio::new(sum.part + zone.part, sum.whole + zone.whole))
    }
}

impl<const N: usize, G: Geometry> CheckInvariants for Zones<'_, N, G> {
    /// Those of each zone.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.zones.iter().try_for_each(|zone| zone.frames.check_invariants())
    }
}
