//! The heap's work in a child process: the checked pass with the search for the smallest heap, and resident memory.
//!
//! The words are `WORK ALLOCATOR TRACE NUMBER`.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::allocators::{ALLOCATORS, Allocator, Class};
use super::program::Program;
use super::smallest::CAP;
use super::survey::Survey;
use crate::arena::Arena;
use crate::children::{Limit, answer, side_by_side};
use crate::clock;
use crate::kind::Kind;
use crate::traces::Source;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    /// The checked pass, for at most so many nanoseconds of CPU time, and the search for the smallest heap.
    Check(u64),
    /// Peak resident memory.
    Resident,
}

/// The answer to [`Task::Check`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checked {
    /// The arena that was used: twice the peak and 16 MiB, or more for allocators that need it.
    pub(super) arena_bytes: usize,
    /// What was found; absent if the allocator cannot begin in that arena.
    pub(super) survey: Option<Survey>,
    /// CPU time of the checked pass.
    ns: u64,
    /// The smallest heap, of whoever works in an arena and came to the end of the checked pass without a fault.
    pub(super) smallest: Option<Smallest>,
}

/// What the search for the smallest heap found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Smallest {
    /// This many times the peak.
    Ratio(f64),
    /// Not even [`CAP`] times the peak.
    BeyondCap,
}

impl Checked {
    /// Whether the pass came to the end of the program.
    fn is_complete(&self, ops: usize) -> bool {
        self.survey.as_ref().is_some_and(|survey| survey.ops == ops && survey.breach.is_none())
    }
}

/// Checks each allocator in a child of its own, and finds its smallest heap.
///
/// Who takes much longer than the fastest so far is cut, as it will be in the timed passes.
pub(super) fn check_all(
    source: &Source,
    ops: usize,
    allocators: Vec<(usize, &'static Allocator)>,
    mut done: impl FnMut(usize, Result<Checked, String>),
) -> io::Result<()> {
    let limit = Cell::new(Limit::LONGEST);
    let tasks = allocators
        .into_iter()
        .map(|(who, allocator)| (who, words(Task::Check(limit.get().0), allocator, source)));
    side_by_side(Kind::Heap, tasks, |who, outcome| {
        let checked: Result<Checked, String> = answer(outcome);
        if let Ok(checked) = &checked
            && checked.is_complete(ops)
        {
            limit.set(limit.get().after(checked.ns));
        }
        done(who, checked);
    })
}

/// Measures the peak of resident memory of each allocator in a child of its own.
pub(super) fn resident_all(
    source: &Source,
    allocators: Vec<(usize, &'static Allocator)>,
    mut done: impl FnMut(usize, Result<Option<u64>, String>),
) -> io::Result<()> {
    let tasks =
        allocators.into_iter().map(|(who, allocator)| (who, words(Task::Resident, allocator, source)));
    side_by_side(Kind::Heap, tasks, |who, outcome| done(who, answer(outcome)))
}

fn words(task: Task, allocator: &Allocator, trace: &Source) -> Vec<OsString> {
    let (work, number) = match task {
        Task::Check(limit) => ("check", limit),
        Task::Resident => ("resident", 0),
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
        "check" => {
            let limit = number.parse().map_err(|_| "no number")?;
            let mut checked = check(&program, allocator, limit).map_err(|error| error.to_string())?;
            checked.smallest = squeeze(&program, allocator, &checked).map_err(|error| error.to_string())?;
            serde_json::to_string(&checked)
        }
        "resident" => serde_json::to_string(&(allocator.resident)(&program)),
        _ => return Err("unknown work".into()),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    io::stdout().lock().write_all(answer.as_bytes()).map_err(|error| error.to_string())
}

fn check(program: &Program, allocator: &Allocator, limit: u64) -> io::Result<Checked> {
    // Only allocators that do less get more than twice the peak, if they cannot do with it.
    let factors = if matches!(allocator.class, Class::Lesser(_)) { &[2, 4, 8, 16, 32][..] } else { &[2] };
    let mut checked = Checked { arena_bytes: 0, survey: None, ns: 0, smallest: None };
    for factor in factors {
        checked.arena_bytes = program.arena_bytes(*factor);
        let mut arena = Arena::new(checked.arena_bytes)?;
        let start = clock::thread_ns();
        checked.survey = (allocator.survey)(program, &mut arena, checked.arena_bytes, limit);
        checked.ns = clock::thread_ns() - start;
        if checked.survey.as_ref().is_some_and(|survey| survey.failed == 0) {
            break;
        }
    }
    Ok(checked)
}

fn squeeze(program: &Program, allocator: &Allocator, checked: &Checked) -> io::Result<Option<Smallest>> {
    let arena_based = matches!(allocator.class, Class::General | Class::Lesser(_));
    let Some(survey) =
        checked.survey.as_ref().filter(|_| arena_based && checked.is_complete(program.ops().len()))
    else {
        return Ok(None);
    };
    let peak = program.peak_bytes().max(1) as f64;
    let guess = (survey.peak_used as f64 + allocator.state_bytes as f64) / peak;
    let mut arena = Arena::new((CAP * peak) as usize)?;
    let found = (allocator.smallest)(program, &mut arena, guess.min(CAP));
    Ok(Some(found.map_or(Smallest::BeyondCap, Smallest::Ratio)))
}
