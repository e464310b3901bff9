//! The heap's work in a child process: checked passes, the search for the smallest heap, resident memory.
//!
//! The words are `WORK ALLOCATOR TRACE NUMBER`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::allocators::{ALLOCATORS, Allocator, Class};
use super::smallest::CAP;
use super::survey::Survey;
use crate::arena::Arena;
use crate::children::{Outcome, side_by_side};
use crate::kind::Kind;
use crate::traces::Source;

/// The CPU time after which a checked pass ends early.
const SURVEY_LIMIT_NS: u64 = 3_000_000_000;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Task {
    /// The checked pass.
    Survey,
    /// The smallest heap, beginning with this guess.
    Smallest(f64),
    /// Peak resident memory.
    Resident,
}

/// The answer to [`Task::Survey`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Surveyed {
    /// The arena that was used: twice the peak and 16 MiB, or more for allocators that need it.
    pub(super) arena_bytes: usize,
    /// What was found; absent if the allocator cannot begin in that arena.
    pub(super) survey: Option<Survey>,
}

/// Runs each task in a child of its own.
pub(super) fn in_children(
    source: &Source,
    tasks: Vec<(usize, &'static Allocator, Task)>,
    mut done: impl FnMut(usize, Task, Outcome),
) -> io::Result<()> {
    let tasks = tasks.into_iter().map(|(who, allocator, task)| ((who, task), words(task, allocator, source)));
    side_by_side(Kind::Heap, tasks, |(who, task), outcome| done(who, task, outcome))
}

fn words(task: Task, allocator: &Allocator, trace: &Source) -> Vec<OsString> {
    let (work, number) = match task {
        Task::Survey => ("survey", 0.0),
        Task::Smallest(guess) => ("smallest", guess),
        Task::Resident => ("resident", 0.0),
    };
    vec![work.into(), allocator.name.into(), trace.argument().into(), number.to_string().into()]
}

/// Does a child's work: the arguments are those after the kind.
///
/// # Errors
/// If the arguments are not what [`words`] makes, or the answer cannot be written.
pub fn work(arguments: &[&OsStr]) -> Result<(), String> {
    let [work, name, trace, number] = arguments else { return Err("wrong arguments".into()) };
    let text = |s: &OsStr| s.to_str().map(str::to_owned).ok_or("not UTF-8");
    let (work, name, number) = (text(work)?, text(name)?, text(number)?);
    let allocator = ALLOCATORS.iter().find(|a| a.name == name).ok_or("unknown allocator")?;
    let source = Source::named(Kind::Heap, trace);
    let program = source.heap()?;
    let answer = match work.as_str() {
        "survey" => {
            // Only allocators that do less get more than twice the peak, if they cannot do with it.
            let factors =
                if matches!(allocator.class, Class::Lesser(_)) { &[2, 4, 8, 16, 32][..] } else { &[2] };
            let mut surveyed = Surveyed { arena_bytes: 0, survey: None };
            for factor in factors {
                surveyed.arena_bytes = program.arena_bytes(*factor);
                let mut arena = Arena::new(surveyed.arena_bytes).map_err(|error| error.to_string())?;
                surveyed.survey =
                    (allocator.survey)(&program, &mut arena, surveyed.arena_bytes, SURVEY_LIMIT_NS);
                if surveyed.survey.as_ref().is_some_and(|survey| survey.failed == 0) {
                    break;
                }
            }
            serde_json::to_string(&surveyed)
        }
        "smallest" => {
            let guess = number.parse().map_err(|_| "no number")?;
            let bytes = (CAP * program.peak_bytes() as f64) as usize;
            let mut arena = Arena::new(bytes).map_err(|error| error.to_string())?;
            serde_json::to_string(&(allocator.smallest)(&program, &mut arena, guess))
        }
        "resident" => serde_json::to_string(&(allocator.resident)(&program)),
        _ => return Err("unknown work".into()),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    io::stdout().lock().write_all(answer.as_bytes()).map_err(|error| error.to_string())
}
