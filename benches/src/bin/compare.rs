//! `compare`: which allocator for which program, measured on recorded traces. See `compare --help`.

use std::process::ExitCode;

/// The tool's own memory comes from here, so that the system's malloc serves the replayed program alone.
#[global_allocator]
static HARNESS: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    ExitCode::from(hectare_benches::cli::main())
}
