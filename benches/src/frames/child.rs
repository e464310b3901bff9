//! The frames' work in a child process: the checked pass. The words are `ALLOCATOR TRACE`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use super::allocators::{ALLOCATORS, Allocator};
use super::subject::Memory;
use super::survey::Survey;
use crate::children::{answer, side_by_side};
use crate::kind::Kind;
use crate::traces::Source;

/// The CPU time after which a checked pass ends early.
const LIMIT_NS: u64 = 2_000_000_000;

/// What a checked pass found; `None` inside if the allocator cannot manage that memory, an error if it crashed.
pub(super) type Surveyed = Result<Option<Survey>, String>;

/// Checks each allocator in a child of its own.
pub(super) fn check_all(
    source: &Source,
    allocators: &[(usize, &'static Allocator)],
    mut done: impl FnMut(usize, Surveyed),
) -> io::Result<()> {
    let words = |name: &str| -> Vec<OsString> { vec![name.into(), source.argument().into()] };
    let tasks = allocators.iter().map(|(who, allocator)| (*who, words(allocator.name)));
    side_by_side(Kind::Frames, tasks, |who, outcome| done(who, answer(outcome)))
}

/// Does a child's work: the arguments are those after the kind.
///
/// # Errors
/// If the arguments are not what the parent passes, or the answer cannot be written.
pub fn work(arguments: &[&OsStr]) -> Result<(), String> {
    let [name, trace] = arguments else { return Err("wrong arguments".into()) };
    let allocator = ALLOCATORS.iter().find(|a| *name == a.name).ok_or("unknown allocator")?;
    let program = Source::named(Kind::Frames, trace).frames()?;
    let mut memory = Memory::new(program.memory()).map_err(|error| error.to_string())?;
    let survey = (allocator.survey)(&program, &mut memory, LIMIT_NS);
    let answer = serde_json::to_string(&survey).map_err(|error| error.to_string())?;
    io::stdout().lock().write_all(answer.as_bytes()).map_err(|error| error.to_string())
}
