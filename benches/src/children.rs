//! Work in child processes: checked passes, searches that may fail, resident memory. A crash there costs a row, never
//! the run.
//!
//! The parent calls its own program again as `compare __child KIND WORD…`; the answer is one line of JSON. It goes
//! through a file without a name, so that no side waits for the other.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::kind::Kind;

/// The word that makes the program a child.
pub const WORD: &str = "__child";

/// When the parent gives a child up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a child ended: its answer, or why there is none.
pub type Outcome = Result<String, String>;

/// A child's work: whose it is, and the words that say what to do.
pub type Task<T> = (T, Vec<OsString>);

/// Does each task in a child of its own, as many at a time as there are processors.
///
/// # Errors
/// If the system refuses to start one.
pub fn side_by_side<T>(
    kind: Kind,
    tasks: impl IntoIterator<Item = Task<T>>,
    mut done: impl FnMut(T, Outcome),
) -> io::Result<()> {
    let width = std::thread::available_parallelism().map_or(1, usize::from);
    let mut waiting = tasks.into_iter();
    let mut running: Vec<(T, Running)> = Vec::new();
    loop {
        while running.len() < width {
            let Some((who, words)) = waiting.next() else { break };
            running.push((who, Running::start(kind, &words)?));
        }
        if running.is_empty() {
            return Ok(());
        }
        let mut index = 0;
        while index < running.len() {
            match running[index].1.poll() {
                Some(outcome) => {
                    let (who, _) = running.swap_remove(index);
                    done(who, outcome);
                }
                None => index += 1,
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// How long a checked pass may take, in nanoseconds of CPU time.
///
/// Three times the fastest of its kind so far: most of the time is the checker's, so that only an allocator that is
/// very slow is cut, as it will be in the timed passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u64);

impl Limit {
    /// Where nothing is known yet.
    pub const LONGEST: Self = Self(3_000_000_000);
    /// What anybody gets.
    const LEAST: Self = Self(300_000_000);

    /// After a whole pass has taken `ns`.
    #[must_use]
    pub fn after(self, ns: u64) -> Self {
        Self(self.0.min(ns.saturating_mul(3)).max(Self::LEAST.0))
    }
}

/// A child's answer as what it stands for.
///
/// # Errors
/// Why there is none.
pub fn answer<T: DeserializeOwned>(outcome: Outcome) -> Result<T, String> {
    outcome.and_then(|text| serde_json::from_str(&text).map_err(|error| format!("gave no answer: {error}")))
}

/// A child at work.
#[derive(Debug)]
struct Running {
    child: Child,
    answer: File,
    complaint: File,
    since: Instant,
}

impl Running {
    fn start(kind: Kind, words: &[OsString]) -> io::Result<Self> {
        let (answer, complaint) = (unnamed()?, unnamed()?);
        let child = Command::new(std::env::current_exe()?)
            .args([WORD, kind.name()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(answer.try_clone()?)
            .stderr(complaint.try_clone()?)
            .spawn()?;
        Ok(Self { child, answer, complaint, since: Instant::now() })
    }

    /// The outcome, if the child has ended; one that takes longer than a minute is ended.
    fn poll(&mut self) -> Option<Outcome> {
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
