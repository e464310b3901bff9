//! `figures`: every figure that this project claims or aims at, measured, with its bound and whether it is met.
//!
//! A missed bound is printed as missed and stays in the list; the exit status says only whether the run was complete.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hectare_benches::figures::{
    Figure, efficiency, print_head, programs, random, segments, state, worst, write_json,
};
use hectare_benches::kind::Kind;
use hectare_benches::traces::{SHIPPED, Source};

/// The harness's own memory comes from here, so that nothing disturbs the measured heaps.
#[global_allocator]
static HARNESS: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Measures every figure of an area: bounds, ours beside the peers, in one run.
#[derive(Parser)]
struct Arguments {
    /// The area: `heap`, `segments`. All of them if none is named.
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |area: &str| arguments.area.as_deref().is_none_or(|wanted| wanted == area);
    if !["heap", "segments"].into_iter().any(wanted) {
        eprintln!("unknown area; there are: heap, segments");
        return ExitCode::from(2);
    }
    let sources: Vec<Source> = if arguments.trace.is_empty() {
        SHIPPED.iter().filter(|trace| trace.kind == Kind::Heap).map(Source::Shipped).collect()
    } else {
        arguments.trace.iter().map(|path| Source::named(Kind::Heap, path.as_os_str())).collect()
    };
    let mut loaded = vec![];
    for source in sources.into_iter().filter(|_| wanted("heap")) {
        match source.heap() {
            Ok(program) => loaded.push(program),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        }
    }
    print_head();
    let mut all = vec![];
    // A new area is one line for each of its groups.
    let groups: [(&str, &dyn Fn() -> Vec<Figure>); 6] = [
        ("heap", &state::figures),
        ("heap", &worst::figures),
        ("heap", &|| efficiency::figures(30)),
        ("heap", &|| random::figures(arguments.rounds)),
        ("heap", &|| programs::figures(&loaded, arguments.rounds)),
        ("segments", &|| segments::figures(arguments.rounds)),
    ];
    for (_, group) in groups.into_iter().filter(|(area, _)| wanted(area)) {
        let figures = group();
        figures.iter().for_each(Figure::print);
        all.extend(figures);
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
