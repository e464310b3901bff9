//! Work in a child process: checked passes, the search for the smallest heap, resident memory. A crash there costs a
//! row, never the run.
//!
//! The parent calls its own program again as `compare __child heap WORK ALLOCATOR TRACE NUMBER`; the answer is one line
//! of JSON. It goes through a file without a name, so that no side waits for the other.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::allocators::{ALLOCATORS, Allocator, Class};
use super::smallest::CAP;
use super::survey::Survey;
use crate::arena::Arena;
use crate::kind::Kind;
use crate::traces::Source;

/// The word that makes the program a child.
pub const WORD: &str = "__child";

/// The CPU time after which a checked pass ends early.
const SURVEY_LIMIT_NS: u64 = 3_000_000_000;
/// When the parent gives a child up.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A child at work.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    answer: File,
    complaint: File,
    since: Instant,
}

/// How a child ended: its answer, or why there is none.
pub(super) type Outcome = Result<String, String>;

/// Starts a child.
///
/// # Errors
/// If the system refuses.
pub(super) fn spawn(task: Task, allocator: &Allocator, trace: &Source) -> io::Result<Running> {
    let (work, number) = match task {
        Task::Survey => ("survey", 0.0),
        Task::Smallest(guess) => ("smallest", guess),
        Task::Resident => ("resident", 0.0),
    };
    let (answer, complaint) = (unnamed()?, unnamed()?);
    let child = Command::new(std::env::current_exe()?)
        .args([WORD, Kind::Heap.name(), work, allocator.name])
        .arg(trace.argument())
        .arg(number.to_string())
        .stdin(Stdio::null())
        .stdout(answer.try_clone()?)
        .stderr(complaint.try_clone()?)
        .spawn()?;
    Ok(Running { child, answer, complaint, since: Instant::now() })
}

impl Running {
    /// The outcome, if the child has ended; one that takes longer than a minute is ended.
    pub(super) fn poll(&mut self) -> Option<Outcome> {
        match self.child.try_wait() {
            Ok(None) if self.since.elapsed() < PATIENCE => None,
            Ok(None) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Some(Err(format!("did not end within {} s", PATIENCE.as_secs())))
            }
            Ok(Some(status)) if status.success() => {
                Some(contents(&mut self.answer).map_err(|e| e.to_string()))
            }
            Ok(Some(status)) => Some(Err(self.cause(status))),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    fn cause(&mut self, status: ExitStatus) -> String {
        use std::os::unix::process::ExitStatusExt;
        let complaint = contents(&mut self.complaint).unwrap_or_default();
        let said = complaint.lines().find(|line| !line.trim().is_empty() && !line.contains("panicked at"));
        let died = match status.signal() {
            Some(libc::SIGSEGV) => "crashed (segmentation fault)".to_owned(),
            Some(libc::SIGBUS) => "crashed (bus error)".to_owned(),
            Some(libc::SIGABRT) => "aborted".to_owned(),
            Some(signal) => format!("killed by signal {signal}"),
            None => "failed".to_owned(),
        };
        match said {
            Some(said) => format!("{died}: {}", said.trim()),
            None => died,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A child's answer as what it stands for.
///
/// # Errors
/// Why there is none.
pub(super) fn answer<T: DeserializeOwned>(outcome: Outcome) -> Result<T, String> {
    outcome.and_then(|text| serde_json::from_str(&text).map_err(|error| format!("gave no answer: {error}")))
}

/// Does a child's work: the arguments are those after [`WORD`] and the kind.
///
/// # Errors
/// If the arguments are not what [`spawn`] passes, or the answer cannot be written.
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

/// A temporary file that no directory lists.
fn unnamed() -> io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("hectare-compare-{}-{count}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
