//! The objects' work in child processes. The words are `WORK ALLOCATOR TRACE NUMBER`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::allocators::{ALLOCATORS, Allocator};
use super::replay::{LATENCY_PASSES, quantiles};
use super::survey::Survey;
use crate::arena::Arena;
use crate::children::{Outcome, answer, side_by_side};
use crate::clock::Scale;
use crate::heap::{Class, Quantiles};
use crate::kind::Kind;
use crate::traces::Source;

/// The CPU time after which a checked pass ends early.
const LIMIT_NS: u64 = 3_000_000_000;

/// Times of the peak that arenas have: the first, or for allocators that do less the first that suffices.
const FACTORS: [usize; 5] = [2, 4, 8, 16, 32];

/// The answer to [`Task::Survey`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Surveyed {
    /// Bytes of the arena that was used.
    pub(super) arena: usize,
    /// What was found; absent if the allocator cannot begin in that arena.
    pub(super) survey: Option<Survey>,
}

/// What a child is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// The checked pass.
    Survey,
    /// The smallest heap, beginning with this guess.
    Smallest(f64),
    /// One timed pass.
    Timed,
    /// The percentiles.
    Latency,
}

/// Runs a task for each of these allocators in children of their own.
pub(super) fn in_children(
    source: &Source,
    tasks: impl IntoIterator<Item = (usize, &'static Allocator, Task)>,
    done: impl FnMut(usize, Outcome),
) -> io::Result<()> {
    let words = |(who, allocator, task): (usize, &Allocator, Task)| -> (usize, Vec<OsString>) {
        let (work, number) = match task {
            Task::Survey => ("survey", 0.0),
            Task::Smallest(guess) => ("smallest", guess),
            Task::Timed => ("timed", 0.0),
            Task::Latency => ("latency", 0.0),
        };
        (who, vec![work.into(), allocator.name.into(), source.argument().into(), number.to_string().into()])
    };
    side_by_side(Kind::Objects, tasks.into_iter().map(words), done)
}

/// One task of one allocator in a child; `None` if it failed.
pub(super) fn alone<T: serde::de::DeserializeOwned>(
    source: &Source,
    allocator: &'static Allocator,
    task: Task,
) -> Option<T> {
    let mut found = None;
    in_children(source, [(0, allocator, task)], |_, outcome| found = answer::<Option<T>>(outcome).ok())
        .ok()?;
    found.flatten()
}

/// One timed pass in a child: nanoseconds an operation. `None` if it failed.
#[must_use]
pub fn timed_apart(source: &Source, allocator: &'static Allocator) -> Option<f64> {
    alone(source, allocator, Task::Timed)
}

/// slabmalloc's nanoseconds a pair, for each work of the figures.
pub(crate) fn slabmalloc_pairs() -> Option<Vec<f64>> {
    let mut found = None;
    let words = ["pairs", "slabmalloc", "-", "0"].map(OsString::from).to_vec();
    side_by_side(Kind::Objects, [((), words)], |(), outcome| found = answer::<Vec<f64>>(outcome).ok())
        .ok()?;
    found
}

/// Does a child's work: the arguments are those after the kind.
///
/// # Errors
/// If the arguments are not what the parent passes, or the answer cannot be written.
pub fn work(arguments: &[&OsStr]) -> Result<(), String> {
    let [work, name, trace, number] = arguments else { return Err("wrong arguments".into()) };
    if *work == "pairs" {
        let answer = serde_json::to_string(&crate::figures::objects::pairs::slabmalloc());
        let answer = answer.map_err(|error| error.to_string())?;
        return io::stdout().lock().write_all(answer.as_bytes()).map_err(|error| error.to_string());
    }
    let allocator = ALLOCATORS.iter().find(|a| *name == a.name).ok_or("unknown allocator")?;
    let program = Source::named(Kind::Objects, trace).objects()?;
    let bytes = program.arena_bytes(2);
    let mut arena = Arena::new(program.arena_bytes(FACTORS[4])).map_err(|error| error.to_string())?;
    let answer = match work.to_str() {
        Some("survey") => {
            // Only allocators that do less get more than twice the peak, if they cannot do with it.
            let lesser = matches!(allocator.class, Class::Lesser(_));
            let mut surveyed = Surveyed::default();
            for factor in if lesser { &FACTORS[..] } else { &FACTORS[..1] } {
                surveyed.arena = program.arena_bytes(*factor);
                surveyed.survey = (allocator.survey)(&program, &mut arena, surveyed.arena, LIMIT_NS);
                if surveyed.survey.as_ref().is_some_and(|survey| survey.failed == 0) {
                    break;
                }
            }
            serde_json::to_string(&surveyed)
        }
        Some("smallest") => {
            let guess = number.to_str().and_then(|text| text.parse().ok()).ok_or("no number")?;
            serde_json::to_string(&(allocator.smallest)(&program, &mut arena, guess))
        }
        Some("timed") => {
            arena.touch(bytes);
            let _warm = (allocator.timed)(&program, &mut arena, bytes, u64::MAX);
            let pass = (allocator.timed)(&program, &mut arena, bytes, u64::MAX);
            serde_json::to_string(&pass.map(|(ns, _)| ns))
        }
        Some("latency") => {
            let mut least = vec![u32::MAX; program.ops.len()];
            arena.touch(bytes);
            (0..LATENCY_PASSES).for_each(|_| (allocator.latency)(&mut least, &program, &mut arena, bytes));
            let quantiles: Option<Quantiles> = quantiles(&least, &Scale::calibrate());
            serde_json::to_string(&quantiles)
        }
        _ => return Err("unknown work".into()),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    io::stdout().lock().write_all(answer.as_bytes()).map_err(|error| error.to_string())
}
