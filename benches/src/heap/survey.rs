//! The checked pass, not timed: contents, alignment and overlap of every block, and what the heap looks like from
//! outside as time goes by.

use serde::{Deserialize, Serialize};

use super::checker::{Breach, Checker};
use super::map::{MAP_ROWS, Map, Picture};
use super::program::Program;
use crate::arena::Arena;
use crate::clock;
use crate::subject::Subject;

/// Points of the curves over time.
const SAMPLES: usize = 160;

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
    /// Holes below it, of 64 bytes and more.
    pub holes: u64,
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
    let mut checker = Checker::new(&mut *subject, arena, program.slots());
    let mut survey = Survey { metadata_bytes, ..Survey::default() };
    let mut picture = Picture::new(arena.addr().get(), arena.len(), program.peak_bytes());
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
            survey.at_peak = Some(checker.sample());
        }
        if is_nth(index, SAMPLES) {
            survey.samples.push(checker.sample());
            if clock::thread_ns() - start > limit_ns {
                break;
            }
        }
        if !S::HOSTED && is_nth(index, MAP_ROWS) {
            picture.add(&checker.shadow);
        }
    }
    if survey.ops == count {
        for op in program.survivors() {
            if let (None, Err(breach)) = (&survey.breach, checker.step(count, op)) {
                survey.breach = Some((breach, count));
            }
        }
    }
    survey.map = picture.crop();
    survey.breach = survey.breach.or(checker.mild.take());
    (survey.failed, survey.refused_in_vain) = (checker.failed, checker.refused_in_vain);
    survey.peak_used = checker.extent as u64;
    Some(survey)
}
