//! Work that needs a process of its own. The words are `WORK NAME …`; the answer is numbers on one line.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{PATIENCE, instructions, memory};
use crate::heap::select;
use crate::kind::Kind;
use crate::traces::Source;

/// The word that makes the tool a child.
pub const WORD: &str = "__hosted";

/// Does a child's work and prints the answer.
///
/// # Errors
/// Why there is none.
pub fn work(words: &[OsString]) -> Result<(), String> {
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).ok_or("a word is missing");
    let number = |at: usize| text(at)?.parse::<usize>().map_err(|_| "no number");
    let (what, name) = (text(0)?, text(1)?);
    let answer = match what {
        "pairs" => vec![instructions::pairs(name, number(2)?, number(3)?)],
        "resident" => {
            let allocator =
                *select(&[name.to_owned()]).map_err(|_| "unknown allocator")?.first().ok_or("none")?;
            let trace = words.get(2).ok_or("a word is missing")?;
            let bytes = (allocator.resident)(&Source::named(Kind::Heap, trace).heap()?);
            vec![bytes.ok_or("not told")? as f64]
        }
        "one-frees" => memory::one_frees(name).ok_or("unknown allocator")?,
        "give-back" => memory::give_back(name).ok_or("unknown allocator")?,
        _ => return Err("unknown work".into()),
    };
    let line: Vec<String> = answer.iter().map(f64::to_string).collect();
    writeln!(io::stdout().lock(), "{}", line.join(" ")).map_err(|error| error.to_string())
}

/// Asks a child.
pub(super) fn ask(words: &[&OsStr]) -> Result<Vec<f64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg(WORD).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let since = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(_) => break,
            None if since.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{words:?} did not end in time"));
            }
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
    match numbers {
        Ok(numbers) if output.status.success() && !numbers.is_empty() => Ok(numbers),
        _ => Err(format!("{words:?} ended with {}", output.status)),
    }
}
