//! Page replacement on the references that a trace shows: its faults.
//!
//! A trace has an access where the recorded kernel faulted, and none of the others, so most references are a page's
//! first: the counts begin high, and what is left tells the policies apart.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use hectare_paging::space::replacement::{Age, Aging, Clock, Fifo, Links, Lru, Optimal, Policy};

/// The names, in the order of [`faults`].
pub const NAMES: [&str; 6] = ["optimal", "LRU-2", "LRU", "aging", "clock", "FIFO"];

/// References between two ticks of a clock, as a timer would have it.
const TICK: usize = 64;

/// How often each policy would fault with so many frames, in the order of [`NAMES`].
#[must_use]
pub fn faults(references: &[u64], frames: usize) -> [u64; 6] {
    let future = future(references);
    [
        simulate(Optimal::new(&future, &mut vec![0; frames]), frames, references),
        simulate(Lru::<2>::new(&mut vec![[0; 2]; frames]), frames, references),
        simulate(Lru::<1>::new(&mut vec![[0; 1]; frames]), frames, references),
        simulate(Aging::new(&mut vec![Age::default(); frames]), frames, references),
        simulate(Clock::new(&mut vec![0; frames]), frames, references),
        simulate(Fifo::new(&mut vec![Links::NONE; frames]), frames, references),
    ]
}

/// How many pages there are.
#[must_use]
pub fn distinct(references: &[u64]) -> usize {
    references.iter().collect::<std::collections::HashSet<_>>().len()
}

/// When the page of each reference is referenced next.
fn future(references: &[u64]) -> Vec<u64> {
    let mut next = HashMap::new();
    let mut future = vec![u64::MAX; references.len()];
    for (nth, page) in references.iter().enumerate().rev() {
        future[nth] = next.insert(*page, nth as u64).unwrap_or(u64::MAX);
    }
    future
}

fn simulate(mut policy: impl Policy, frames: usize, references: &[u64]) -> u64 {
    let (mut places, mut pages) = (HashMap::new(), vec![0; frames]);
    let (mut count, mut used) = (0, 0);
    for (nth, page) in references.iter().enumerate() {
        if nth % TICK == TICK - 1 {
            policy.tick();
        }
        if let Some(place) = places.get(page) {
            policy.touch(*place);
            continue;
        }
        count += 1;
        let place = if used < frames {
            used += 1;
            used - 1
        } else {
            let Some(victim) = policy.victim() else { return count };
            policy.remove(victim);
            places.remove(&pages[victim]);
            victim
        };
        pages[place] = *page;
        places.insert(*page, place);
        policy.insert(place);
    }
    count
}
