//! Instructions of a pair of `malloc` and `free` through the shared library, counted by valgrind: the difference of two
//! runs, net of the loop, whose cost is counted with two functions that do nothing.

use core::ffi::c_void;
use core::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::WORD;
use crate::figures::{Bound, Figure};

type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);

/// Instructions of the two functions below.
const NOTHING: f64 = 3.0;

unsafe extern "C" fn no_malloc(_: usize) -> *mut c_void {
    core::ptr::null_mut()
}

unsafe extern "C" fn no_free(_: *mut c_void) {}

fn functions(name: &str) -> (Malloc, Free) {
    match name {
        "nothing" => (no_malloc, no_free),
        #[cfg(feature = "native-peers")]
        "mimalloc" => (libmimalloc_sys::mi_malloc, libmimalloc_sys::mi_free),
        #[cfg(feature = "native-peers")]
        "snmalloc" => (snmalloc_sys::sn_malloc, snmalloc_sys::sn_free),
        #[cfg(feature = "native-peers")]
        "jemalloc" => (tikv_jemalloc_sys::malloc, tikv_jemalloc_sys::free),
        // The C library's, or what is preloaded before it.
        _ => (libc::malloc, libc::free),
    }
}

/// The child's work: so many pairs.
pub(super) fn pairs(name: &str, count: usize, size: usize) -> f64 {
    let (malloc, free) = black_box(functions(name));
    for _ in 0..count {
        // SAFETY: any size may be asked for.
        let block = black_box(unsafe { malloc(size) });
        // SAFETY: allocated above by the same family.
        unsafe { free(block) };
    }
    count as f64
}

/// The figures; none, and a line that says why, if there is no valgrind or the library cannot be built.
pub(super) fn figures() -> Vec<Figure> {
    let (plain, hardened) = match (library(false), library(true)) {
        (Ok(plain), Ok(hardened)) => (plain, hardened),
        (Err(why), _) | (_, Err(why)) => {
            println!("SKIPPED: instructions: {why}");
            return vec![];
        }
    };
    let mut figures = vec![];
    for (size, bound) in [(16, 40.0), (64, 40.0), (1000, 50.0), (8000, 50.0), (30_000, 50.0)] {
        let Some(loops) = count("nothing", None, size) else {
            println!("SKIPPED: instructions: valgrind is missing or does not run this program");
            return figures;
        };
        let net = |name, library| count(name, library, size).map(|all| all - loops + NOTHING);
        let Some(ours) = net("system", Some(&plain)) else { continue };
        let title = format!("instructions of a {size}-byte malloc and free");
        figures.push(Figure::value(format!("{title}, net of the loop"), ours, Bound::AtMost(bound)));
        if let Some(hardened) = net("system", Some(&hardened)) {
            let title = format!("{title}, hardened, beside plain");
            figures.push(Figure::beside(title, hardened, ours, Bound::Recorded));
        }
        for peer in super::PEERS.into_iter().chain(["system"]) {
            let there = peer == "system" || super::names().contains(&peer);
            match net(peer, None).filter(|_| there) {
                Some(theirs) => {
                    figures.push(Figure::beside(
                        format!("{title}, beside {peer}"),
                        ours,
                        theirs,
                        Bound::Recorded,
                    ));
                }
                None => {
                    println!("SKIPPED: {title}: {peer} is not compiled in, or does not run under valgrind")
                }
            }
        }
    }
    figures
}

/// Instructions of one pair with its turn of the loop.
fn count(name: &str, library: Option<&Path>, size: usize) -> Option<f64> {
    const PAIRS: usize = 100_000;
    let once = |pairs| collected(name, library, pairs, size);
    Some((once(PAIRS + 1000)? - once(1000)?) / PAIRS as f64)
}

fn collected(name: &str, library: Option<&Path>, pairs: usize, size: usize) -> Option<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().ok()?).args([
        WORD,
        "pairs",
        name,
        &pairs.to_string(),
        &size.to_string(),
    ]);
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Builds the shared library.
fn library(hardened: bool) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join(if hardened { "target/preload/hardened" } else { "target/preload" });
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--quiet", "--manifest-path"]);
    command.arg(root.join("examples/preload/Cargo.toml")).arg("--target-dir").arg(&target);
    if hardened {
        command.args(["--features", "hardened"]);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(target.join("release/libhectare_preload.so")),
        Ok(status) => Err(format!("building the library ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}
