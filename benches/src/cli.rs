//! The command line of `compare`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::children;
use crate::heap::{Progress, Threads};
use crate::kind::Kind;
use crate::report::{self, Chapter, Machine};
use crate::rounds::Rounds;
use crate::traces::{AS_RANGES, SHIPPED, Shipped, Source, serves};
use terminal::{paragraphs, terminal_width};

mod frames;
mod heap;
mod objects;
mod ranges;
mod terminal;
mod vm;

/// All is well.
const OK: u8 = 0;
/// One of our allocators broke a rule.
const BROKEN: u8 = 1;
/// A bad argument, a broken trace, or a file that cannot be written.
const BAD: u8 = 2;

/// Which allocator for which program: recorded traces, replayed through our allocators and their peers.
///
/// Without arguments every shipped trace is replayed and report.html is written.
#[derive(Debug, Parser)]
#[command(
    name = "compare",
    version,
    after_help = "Exit status: 0; 1 if an allocator of ours broke a rule; 2 for a bad \
    argument or a broken trace.\nTimes are thread CPU time; see the report for how everything is measured."
)]
struct Arguments {
    /// heap, frames, objects, vm or ranges; `list` shows the allocators and shipped traces of each kind
    #[arg(value_name = "KIND|list")]
    kind: Option<String>,

    /// Trace files, or names of shipped traces; all shipped traces of the kind if there are none
    #[arg(value_name = "TRACE", requires = "kind")]
    traces: Vec<OsString>,

    /// Only these allocators
    #[arg(long, value_name = "NAME,NAME…", value_delimiter = ',')]
    allocators: Vec<String>,

    /// Threads that replay: one; real, as recorded; or so many, each with the whole trace
    #[arg(long, default_value = "one", value_name = "one|real|N")]
    threads: String,

    /// Timed rounds, of which the median is reported [default: 5 to 9, as far as a second and a half goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: Option<u16>,

    /// Write one JSON object for each trace and allocator, one a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the report here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// No progress, no table: only errors, and the files asked for
    #[arg(long)]
    quiet: bool,
}

/// Runs `compare` with the process's arguments. Returns the exit status.
#[must_use]
pub fn main() -> u8 {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let [_, word, kind, rest @ ..] = &words[..]
        && word == children::WORD
    {
        let rest: Vec<&OsStr> = rest.iter().map(OsString::as_os_str).collect();
        return child(kind, &rest).map_or_else(|error| complain(&error), |()| OK);
    }
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD } else { OK };
        }
    };
    run(&arguments).unwrap_or_else(|error| complain(&error))
}

fn complain(error: &str) -> u8 {
    let _ = writeln!(io::stderr().lock(), "compare: {error}");
    BAD
}

/// A child's work: the kind, and the words after it.
///
/// # Errors
/// Words that no parent passes, or an answer that cannot be written.
pub fn child(kind: &OsStr, words: &[&OsStr]) -> Result<(), String> {
    match kind.to_str().and_then(Kind::named) {
        Some(Kind::Heap) => crate::heap::work(words),
        Some(Kind::Frames) => crate::frames::work(words),
        Some(Kind::Objects) => crate::objects::work(words),
        _ => Err("unknown kind".into()),
    }
}

/// What one kind of traces is asked for.
struct Request<'a> {
    allocators: &'a [String],
    sources: Vec<Source>,
    threads: Threads,
    rounds: Rounds,
    quiet: bool,
    /// Columns of the terminal.
    width: u16,
}

/// What it came to.
struct Outcome {
    /// One JSON object for each trace and allocator.
    lines: Vec<String>,
    /// The table, and the advice.
    table: String,
    advice: Vec<String>,
    /// The part of the report.
    chapter: Chapter,
    /// The rules that were broken and are ours to keep.
    broken: Vec<String>,
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    if arguments.kind.as_deref() == Some("list") {
        return print(&list()).map(|()| OK);
    }
    let kinds = kinds(arguments)?;
    let threads = threads(&arguments.threads)?;
    let json = arguments.json.as_deref().map(create).transpose()?;
    let default_html = arguments.kind.is_none().then(|| PathBuf::from("report.html"));
    let html = arguments.html.clone().or(default_html);
    let page = html.as_deref().map(create).transpose()?;
    let rounds = arguments.rounds.map_or_else(Rounds::usual, |count| Rounds::exactly(count.into()));
    let mut outcomes = Vec::new();
    for kind in kinds {
        let request = Request {
            allocators: &arguments.allocators,
            sources: sources(kind, &arguments.traces),
            threads,
            rounds: rounds.clone(),
            quiet: arguments.quiet,
            width: terminal_width(),
        };
        let outcome = compare(kind, &request)?;
        if !arguments.quiet {
            print(&format!("\n{}\n\n{}\n", outcome.table, paragraphs(&outcome.advice, request.width)))?;
        }
        outcomes.push(outcome);
    }
    if let Some(mut file) = json {
        outcomes
            .iter()
            .flat_map(|outcome| &outcome.lines)
            .try_for_each(|line| writeln!(file, "{line}"))
            .and_then(|()| file.flush())
            .map_err(|error| format!("--json: {error}"))?;
    }
    let broken: Vec<String> = outcomes.iter().flat_map(|outcome| outcome.broken.clone()).collect();
    if let (Some(mut file), Some(path)) = (page, html) {
        let chapters: Vec<Chapter> = outcomes.into_iter().map(|outcome| outcome.chapter).collect();
        let text = report::page(&chapters, &Machine::this());
        file.write_all(text.as_bytes())
            .and_then(|()| file.flush())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        if !arguments.quiet {
            let path = path.canonicalize().unwrap_or(path);
            print(&format!("\nReport: {}\n", path.display()))?;
        }
    }
    for sentence in &broken {
        complain(sentence);
    }
    Ok(if broken.is_empty() { OK } else { BROKEN })
}

/// The kinds to replay: the one that is named, or all that have allocators (among those named with `--allocators`).
fn kinds(arguments: &Arguments) -> Result<Vec<Kind>, String> {
    let known = |kind: Kind, name: &String| all_names(kind).contains(&name.as_str());
    if let Some(name) = arguments.kind.as_deref() {
        let kind = Kind::named(name).ok_or_else(|| {
            format!("no kind of trace is called '{name}'; kinds are heap, frames, objects, vm, ranges; or: compare list")
        })?;
        if names(kind).is_empty() {
            return Err(format!("there are no allocators for '{kind}' yet; see: compare list"));
        }
        return match arguments.allocators.iter().find(|name| !known(kind, name)) {
            None => Ok(vec![kind]),
            Some(name) => {
                Err(format!("no {kind} allocator is called '{name}'; there are: {}", names(kind).join(", ")))
            }
        };
    }
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !names(*kind).is_empty()).collect();
    if let Some(name) = arguments.allocators.iter().find(|name| !kinds.iter().any(|kind| known(*kind, name)))
    {
        return Err(format!("no allocator is called '{name}'; see: compare list"));
    }
    let wanted = |kind: &Kind| {
        arguments.allocators.is_empty() || arguments.allocators.iter().any(|name| known(*kind, name))
    };
    Ok(kinds.into_iter().filter(wanted).collect())
}

fn compare(kind: Kind, request: &Request<'_>) -> Result<Outcome, String> {
    match kind {
        Kind::Heap => heap::compare(request),
        Kind::Frames => frames::compare(request),
        Kind::Ranges => ranges::compare(request),
        Kind::Objects => objects::compare(request),
        Kind::Vm => vm::compare(request),
    }
}

/// The allocators of a kind that are shown by default.
fn names(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Heap => heap::names(false),
        Kind::Frames => frames::names(false),
        Kind::Objects => objects::names(false),
        Kind::Ranges => ranges::names(),
        Kind::Vm => vm::names(),
    }
}

/// All of them, with those that are wrong on purpose.
fn all_names(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Heap => heap::names(true),
        Kind::Frames => frames::names(true),
        Kind::Objects => objects::names(true),
        Kind::Ranges => ranges::names(),
        Kind::Vm => vm::names(),
    }
}

/// What `--threads` says.
fn threads(word: &str) -> Result<Threads, String> {
    match (word, word.parse::<u8>()) {
        ("one", _) | (_, Ok(1)) => Ok(Threads::One),
        ("real", _) => Ok(Threads::Real),
        (_, Ok(count)) if count > 0 => Ok(Threads::Many(usize::from(count))),
        _ => Err(format!("--threads is one, real or a number from 1 to 255, not '{word}'")),
    }
}

/// Does something for each trace, with a bar that knows how many steps it takes.
fn with_progress<T>(
    request: &Request<'_>,
    steps: usize,
    mut each: impl FnMut(&Source, &dyn Progress) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let bar = ProgressBar::new((steps * request.sources.len()) as u64);
    if request.quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) =
        ProgressStyle::with_template("{prefix:>12} {wide_bar:.green} {percent:>3} % {msg:<24} {eta:>4}")
    {
        bar.set_style(style);
    }
    let results = (1..).zip(&request.sources).map(|(number, source)| {
        bar.set_prefix(source.argument().to_string_lossy().into_owned());
        let result = each(source, &Bar(&bar));
        // Steps may be left out, as rounds for which there was no time.
        bar.set_position((steps * number) as u64);
        result
    });
    let results = results.collect();
    bar.finish_and_clear();
    results
}

struct Bar<'a>(&'a ProgressBar);

impl Progress for Bar<'_> {
    fn step(&self, what: &str) {
        if self.0.message() != what {
            self.0.set_message(what.to_owned());
        }
        self.0.inc(1);
    }
}

fn sources(kind: Kind, traces: &[OsString]) -> Vec<Source> {
    if traces.is_empty() {
        // Only some of what programs asked of their heaps is replayed as ranges as well.
        let fits = |shipped: &&Shipped| {
            let as_ranges = kind == Kind::Ranges && shipped.kind == Kind::Heap;
            serves(shipped.kind, kind) && (!as_ranges || AS_RANGES.contains(&shipped.name))
        };
        return SHIPPED.iter().filter(fits).map(Source::Shipped).collect();
    }
    traces.iter().map(|name| Source::named(kind, name)).collect()
}

fn list() -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let names = names(kind);
        text += &format!(
            "{kind}\n  allocators: {}\n",
            if names.is_empty() { "none yet".into() } else { names.join(", ") }
        );
        if kind == Kind::Heap {
            let names = heap::on_request().join(",");
            text += &format!("  only if named (each adds a twelfth to the time): --allocators {names}\n");
        }
        for shipped in SHIPPED.iter().filter(|shipped| shipped.kind == kind) {
            text += &format!("  trace: {:<12} {}\n", shipped.name, shipped.about);
        }
    }
    text
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

fn create(path: &Path) -> Result<BufWriter<File>, String> {
    File::create(path).map(BufWriter::new).map_err(|error| format!("{}: {error}", path.display()))
}
