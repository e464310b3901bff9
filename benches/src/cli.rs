//! The command line of `compare`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::Scale;
use crate::heap::{self, ALLOCATORS, Class, Plan, Progress, Threads, TraceResult, measure};
use crate::kind::Kind;
use crate::report::{self, Machine};
use crate::traces::{SHIPPED, Source};
use terminal::{paragraphs, terminal_width};

mod terminal;

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

    /// Timed rounds; the median is reported
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: u16,

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
        && word == heap::WORD
        && kind == Kind::Heap.name()
    {
        let rest: Vec<&OsStr> = rest.iter().map(OsString::as_os_str).collect();
        return heap::work(&rest).map_or_else(|error| complain(&error), |()| OK);
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

fn run(arguments: &Arguments) -> Result<u8, String> {
    if arguments.kind.as_deref() == Some("list") {
        return print(&list()).map(|()| OK);
    }
    let kind = match arguments.kind.as_deref() {
        None => Kind::Heap,
        Some(name) => Kind::named(name).ok_or_else(|| {
            format!("no kind of trace is called '{name}'; kinds are heap, frames, objects, vm, ranges; or: compare list")
        })?,
    };
    if kind != Kind::Heap {
        return Err(format!("there are no allocators for '{kind}' yet; see: compare list"));
    }
    let threads = threads(&arguments.threads)?;
    let allocators = heap::select(&arguments.allocators).map_err(|name| {
        format!("no heap allocator is called '{name}'; there are: {}", names(kind).join(", "))
    })?;
    let sources = sources(kind, &arguments.traces);
    let json = arguments.json.as_deref().map(create).transpose()?;
    let default_html = arguments.kind.is_none().then(|| PathBuf::from("report.html"));
    let html = arguments.html.clone().or(default_html);
    let page = html.as_deref().map(create).transpose()?;
    let plan = Plan { allocators, rounds: usize::from(arguments.rounds), threads };
    let results = replay(&sources, &plan, arguments.quiet)?;
    if let Some(mut file) = json {
        for (result, row) in
            results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)))
        {
            let line = serde_json::to_string(&row.json(&result.name)).map_err(|error| error.to_string())?;
            writeln!(file, "{line}").map_err(|error| format!("--json: {error}"))?;
        }
        file.flush().map_err(|error| format!("--json: {error}"))?;
    }
    if !arguments.quiet {
        let width = terminal_width();
        print(&format!(
            "\n{}\n\n{}\n",
            report::table(&report::overall(&results), width),
            paragraphs(&report::advice(&results), width)
        ))?;
    }
    if let (Some(mut file), Some(path)) = (page, html) {
        let text = report::page(&results, &Machine::this(), &plan);
        file.write_all(text.as_bytes())
            .and_then(|()| file.flush())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        if !arguments.quiet {
            let path = path.canonicalize().unwrap_or(path);
            print(&format!("\nReport: {}\n", path.display()))?;
        }
    }
    Ok(verdict(&results))
}

/// Whether a rule was broken that is ours to keep.
fn verdict(results: &[TraceResult]) -> u8 {
    let mut status = OK;
    for result in results {
        for row in result.rows.iter().filter(|row| row.broke_a_rule && row.allocator.is_ours()) {
            let why: Vec<&str> = row.notes.iter().map(|note| note.0.as_str()).collect();
            complain(&format!("{} broke a rule on {}: {}", row.allocator.name, result.name, why.join("; ")));
            status = BROKEN;
        }
    }
    status
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

fn replay(sources: &[Source], plan: &Plan, quiet: bool) -> Result<Vec<TraceResult>, String> {
    let scale = Scale::calibrate();
    let bar = ProgressBar::new((plan.steps() * sources.len()) as u64);
    if quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) =
        ProgressStyle::with_template("{prefix:>12} {wide_bar:.green} {percent:>3} % {msg:<24} {eta:>4}")
    {
        bar.set_style(style);
    }
    let results = sources.iter().map(|source| {
        bar.set_prefix(source.argument().to_string_lossy().into_owned());
        measure(source, plan, &scale, &Bar(&bar))
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
        return SHIPPED.iter().filter(|shipped| shipped.kind == kind).map(Source::Shipped).collect();
    }
    traces.iter().map(|name| Source::named(kind, name)).collect()
}

fn names(kind: Kind) -> Vec<&'static str> {
    let shown = ALLOCATORS.iter().filter(|a| kind == Kind::Heap && a.class != Class::Broken);
    shown.map(|a| a.name).collect()
}

fn list() -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let names = names(kind);
        text += &format!(
            "{kind}\n  allocators: {}\n",
            if names.is_empty() { "none yet".into() } else { names.join(", ") }
        );
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
