//! `figures`: every figure that this project claims or aims at, measured, with its bound and whether it is met.
//!
//! A missed bound is printed as missed and stays in the list; the exit status says only whether the run was complete.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hectare_benches::figures::frames::{cpus, pairs, recorded, shares, sizes};
use hectare_benches::figures::objects;
use hectare_benches::figures::{
    Figure, efficiency, hosted, print_head, programs, random, ranges, segments, state, tables, vm, worst,
    write_json,
};
use hectare_benches::kind::Kind;
use hectare_benches::traces::{SHIPPED, Source, serves};
use hectare_benches::{children, cli};

/// The harness's own memory comes from here, so that nothing disturbs the measured heaps.
#[global_allocator]
static HARNESS: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Measures every figure of an area: bounds, ours beside the peers, in one run.
#[derive(Parser)]
struct Arguments {
    /// The area: `heap`, `ranges`, `frames`, `objects`, `segments`, `tables`, `hosted` or `vm`. All of them if none is named.
    area: Option<String>,
    /// Interleaved rounds of each measurement.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Traces to replay instead of the shipped ones.
    #[arg(long)]
    trace: Vec<PathBuf>,
    /// Writes the figures, one JSON object a line.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A child's work, of this program or of `compare`.
fn child(word: &OsStr, words: &[OsString]) -> Result<(), String> {
    if word == hosted::WORD {
        return hosted::child::work(words);
    }
    let [kind, rest @ ..] = words else { return Err("no kind".into()) };
    cli::child(kind, &rest.iter().map(OsString::as_os_str).collect::<Vec<_>>())
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some((word, rest)) = words.split_first()
        && [children::WORD, hosted::WORD].iter().any(|known| word == known)
    {
        return child(word, rest).map_or_else(
            |error| {
                eprintln!("{error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let arguments = Arguments::parse();
    let wanted = |area: &str| arguments.area.as_deref().is_none_or(|named| named == area);
    // A new area is one line here, and its function below.
    let areas = [
        ("heap", heap as Area),
        ("ranges", in_ranges),
        ("frames", frames),
        ("objects", in_objects),
        ("segments", in_segments),
        ("hosted", in_hosted),
        ("vm", in_vm),
        ("tables", in_tables),
    ];
    if !areas.iter().any(|(area, _)| wanted(area)) {
        eprintln!("unknown area; there are: {}", areas.map(|(area, _)| area).join(", "));
        return ExitCode::from(2);
    }
    let rounds = arguments.rounds;
    let mut all = vec![];
    print_head();
    for (area, measure) in areas {
        if wanted(area)
            && let Err(error) = measure(&arguments.trace, rounds, &mut all)
        {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    let missed = all.iter().filter(|figure| figure.ok() == Some(false)).count();
    println!("{} figures, {missed} missed", all.len());
    if let Some(path) = arguments.json
        && let Err(error) = write_json(&all, &path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Measures an area with these traces in so many rounds, prints each figure, and appends them.
type Area = fn(&[PathBuf], usize, &mut Vec<Figure>) -> Result<(), String>;

/// The traces that are named, or the shipped ones.
fn sources(kind: Kind, traces: &[PathBuf]) -> Vec<Source> {
    if traces.is_empty() {
        return SHIPPED.iter().filter(|trace| trace.kind == kind).map(Source::Shipped).collect();
    }
    traces.iter().map(|path| Source::named(kind, path.as_os_str())).collect()
}

fn add(figures: Vec<Figure>, all: &mut Vec<Figure>) {
    figures.iter().for_each(Figure::print);
    all.extend(figures);
}

fn heap(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let loaded: Result<Vec<_>, _> = sources(Kind::Heap, traces).iter().map(Source::heap).collect();
    let loaded = loaded?;
    add(state::figures(), all);
    add(worst::figures(), all);
    add(efficiency::figures(30), all);
    add(random::figures(rounds), all);
    add(programs::figures(&loaded, rounds), all);
    Ok(())
}

fn in_ranges(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let loaded: Result<Vec<_>, _> = sources(Kind::Heap, traces).iter().map(Source::ranges).collect();
    let loaded = loaded?;
    add(ranges::times(rounds), all);
    add(ranges::exact(1_000_000), all);
    add(ranges::plans(), all);
    add(ranges::space(&loaded), all);
    Ok(())
}

fn frames(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let loaded: Result<Vec<_>, _> =
        sources(Kind::Frames, traces).iter().filter(|source| !source.is_made()).map(Source::frames).collect();
    let loaded = loaded?;
    add(sizes::figures(rounds), all);
    add(pairs::figures(rounds), all);
    add(recorded::figures(&loaded, rounds), all);
    add(cpus::figures(rounds), all);
    add(shares::figures(), all);
    Ok(())
}

fn in_objects(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let programs: Result<Vec<_>, _> = sources(Kind::Heap, &[]).iter().map(Source::heap).collect();
    let programs = programs?;
    add(objects::pairs::figures(rounds), all);
    add(objects::recorded::figures(&sources(Kind::Objects, traces), rounds)?, all);
    add(objects::classes::figures(&programs, rounds), all);
    add(objects::crowd::figures(rounds.min(3)), all);
    Ok(())
}

fn in_segments(_traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    add(segments::figures(rounds), all);
    Ok(())
}

fn in_hosted(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let load = |source: &Source| Ok::<_, String>((source.heap()?, source.argument().to_owned()));
    let loaded: Vec<_> = sources(Kind::Heap, traces).iter().map(load).collect::<Result<_, _>>()?;
    hosted::figures(&loaded, rounds, &mut |figures| add(figures, all))
}

fn in_vm(traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    let named = |path: &PathBuf| Source::named(Kind::Vm, path.as_os_str());
    let sources: Vec<Source> = if traces.is_empty() {
        let shipped = SHIPPED.iter().filter(|trace| serves(trace.kind, Kind::Vm));
        shipped.map(Source::Shipped).collect()
    } else {
        traces.iter().map(named).collect()
    };
    add(vm::traces(&sources)?, all);
    add(vm::costs(rounds), all);
    add(vm::areas(rounds), all);
    add(vm::million(), all);
    Ok(())
}

fn in_tables(_traces: &[PathBuf], rounds: usize, all: &mut Vec<Figure>) -> Result<(), String> {
    add(tables::figures(rounds), all);
    Ok(())
}
