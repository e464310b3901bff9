//! The hosted heap beside the allocators of ordinary programs: instructions, recorded programs, threads, memory.
//!
//! What needs a process of its own is done by this program as a child (`figures __hosted WORK …`, see [`child`]). The C and
//! C++ peers are there with the cargo feature `native-peers`; without it their rows say `SKIPPED`.

pub mod child;
mod instructions;
mod memory;
mod patterns;
mod recorded;

use std::time::Duration;

use super::Figure;
use crate::heap::Program;

pub use child::WORD;

/// Those beside whom we are measured.
const PEERS: [&str; 3] = ["mimalloc", "snmalloc", "jemalloc"];

/// Ours and the peers that were compiled in.
fn names() -> Vec<&'static str> {
    let there = |name: &&str| crate::heap::select(&[(*name).to_owned()]).is_ok();
    ["hectare-hosted"].into_iter().chain(PEERS.into_iter().filter(there)).collect()
}

/// All of them. The sources of the traces are for children: by file or by name.
///
/// # Errors
/// What the system refused.
pub fn figures(
    programs: &[(Program, std::ffi::OsString)],
    rounds: usize,
    print: &mut dyn FnMut(Vec<Figure>),
) -> Result<(), String> {
    if names().len() == 1 {
        println!(
            "SKIPPED: mimalloc, snmalloc, jemalloc (cargo feature native-peers); bounds beside them are not measured"
        );
    }
    print(instructions::figures());
    print(recorded::single(programs, rounds));
    print(recorded::threaded(programs, rounds));
    print(recorded::resident(programs)?);
    print(patterns::two_threads(rounds));
    print(patterns::hermit(rounds));
    print(memory::figures()?);
    Ok(())
}

/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest of the peers' values, in the order of [`names`]: all but the first. `None` without peers.
fn best(values: &[f64]) -> Option<f64> {
    values.iter().skip(1).copied().reduce(f64::min)
}
