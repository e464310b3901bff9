//! Untimed work in threads, as many at a time as there are processors. What is timed runs alone.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

/// Does `work` for each task, and calls `done` here with each result as it comes.
pub fn side_by_side<T: Sync, R: Send>(
    tasks: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(usize, R),
) {
    let next = AtomicUsize::new(0);
    let width = thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let (sender, results) = channel();
    thread::scope(|scope| {
        for _ in 0..width {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((index, task)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    tasks.get(index).map(|task| (index, task))
                } {
                    if sender.send((index, work(task))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, result) in results {
            done(index, result);
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_task_is_done_once() {
        let tasks: Vec<usize> = (0..100).collect();
        let mut squares = vec![0; 100];
        super::side_by_side(&tasks, |task| task * task, |index, square| squares[index] += square);
        assert!(squares.iter().enumerate().all(|(index, square)| *square == index * index));
        super::side_by_side(&[0; 0], |_| (), |_, ()| panic!("there is nothing to do"));
    }
}
