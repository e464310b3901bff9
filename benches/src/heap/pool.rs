//! Children at work side by side.

use std::io;
use std::time::Duration;

use super::allocators::Allocator;
use super::child::{self, Outcome, Running, Task};
use crate::traces::Source;

/// Runs each task in a child of its own, as many at a time as there are processors.
pub(super) fn in_children(
    source: &Source,
    tasks: Vec<(usize, &'static Allocator, Task)>,
    mut done: impl FnMut(usize, Task, Outcome),
) -> io::Result<()> {
    let width = std::thread::available_parallelism().map_or(1, usize::from);
    let mut waiting = tasks.into_iter();
    let mut running: Vec<(usize, Task, Running)> = Vec::new();
    loop {
        while running.len() < width {
            let Some((who, allocator, task)) = waiting.next() else { break };
            running.push((who, task, child::spawn(task, allocator, source)?));
        }
        if running.is_empty() {
            return Ok(());
        }
        let mut index = 0;
        while index < running.len() {
            match running[index].2.poll() {
                Some(outcome) => {
                    let (who, task, _) = running.swap_remove(index);
                    done(who, task, outcome);
                }
                None => index += 1,
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
