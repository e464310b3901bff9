//! Page replacement: the fault counts that textbooks print, and what must hold of any reference string.

use std::collections::HashMap;

use hectare_paging::space::replacement::{Age, Aging, Clock, Fifo, Links, Lru, Optimal, Policy};
use proptest::prelude::*;

/// Faults of a reference string with so many frames, all empty at first. A tick every `period` references.
fn faults(mut policy: impl Policy, frames: usize, references: &[u8], period: usize) -> usize {
    let (mut places, mut pages) = (HashMap::new(), vec![None; frames]);
    let mut count = 0;
    for (nth, page) in references.iter().enumerate() {
        if nth % period == period - 1 {
            policy.tick();
        }
        if let Some(place) = places.get(page) {
            policy.touch(*place);
            continue;
        }
        count += 1;
        let place = pages.iter().position(Option::is_none).unwrap_or_else(|| {
            let victim = policy.victim().expect("somebody is there");
            policy.remove(victim);
            places.remove(&pages[victim].expect("a victim is there"));
            victim
        });
        pages[place] = Some(*page);
        places.insert(*page, place);
        policy.insert(place);
    }
    count
}

fn fifo(frames: usize, references: &[u8]) -> usize {
    faults(Fifo::new(&mut vec![Links::NONE; frames]), frames, references, usize::MAX)
}

fn clock(frames: usize, references: &[u8]) -> usize {
    faults(Clock::new(&mut vec![0; frames]), frames, references, usize::MAX)
}

fn lru<const K: usize>(frames: usize, references: &[u8]) -> usize {
    faults(Lru::<K>::new(&mut vec![[0; K]; frames]), frames, references, usize::MAX)
}

fn aging(frames: usize, references: &[u8], period: usize) -> usize {
    faults(Aging::new(&mut vec![Age::default(); frames]), frames, references, period)
}

fn optimal(frames: usize, references: &[u8]) -> usize {
    let next = |nth: usize| references[nth + 1..].iter().position(|page| *page == references[nth]);
    let future: Vec<u64> =
        (0..references.len()).map(|nth| next(nth).map_or(u64::MAX, |more| (nth + 1 + more) as u64)).collect();
    faults(Optimal::new(&future, &mut vec![0; frames]), frames, references, usize::MAX)
}

/// Silberschatz, Galvin and Gagne, "Operating System Concepts", 10th edition, section 10.4.
const OSC: [u8; 20] = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
/// The string of Belady's anomaly, there too.
const BELADY: [u8; 12] = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
/// Stallings, "Operating Systems: Internals and Design Principles", section 8.2. Its counts leave the first three out.
const STALLINGS: [u8; 12] = [2, 3, 2, 1, 5, 2, 4, 5, 3, 2, 5, 2];

#[test]
fn the_counts_of_the_textbooks() {
    assert_eq!((fifo(3, &OSC), optimal(3, &OSC), lru::<1>(3, &OSC)), (15, 9, 12));
    assert_eq!((optimal(3, &STALLINGS), lru::<1>(3, &STALLINGS)), (3 + 3, 4 + 3));
    assert_eq!((fifo(3, &STALLINGS), clock(3, &STALLINGS)), (6 + 3, 5 + 3));
}

#[test]
fn more_memory_may_mean_more_faults_under_fifo() {
    let counts: Vec<_> = (1..=5).map(|frames| fifo(frames, &BELADY)).collect();
    assert_eq!(counts, [12, 12, 9, 10, 5]);
    assert_eq!((lru::<1>(3, &BELADY), lru::<1>(4, &BELADY)), (10, 8));
    assert_eq!((optimal(3, &BELADY), optimal(4, &BELADY)), (7, 6));
}

#[test]
fn aging_is_the_figure_of_the_textbook() {
    // Tanenbaum and Bos, "Modern Operating Systems", figure 3-17: six pages, five ticks.
    let used = ["101011", "110010", "110101", "100010", "011000"];
    let mut ages = [Age::default(); 6];
    let mut aging = Aging::new(&mut ages);
    (0..6).for_each(|place| aging.insert(place));
    // Before the figure begins they have not been used.
    (0..33).for_each(|_| aging.tick());
    for row in used {
        row.bytes().enumerate().filter(|(_, bit)| *bit == b'1').for_each(|(place, _)| aging.touch(place));
        aging.tick();
    }
    let top = |place| aging.history(place).unwrap() >> 24;
    let found: Vec<u32> = (0..6).map(top).collect();
    assert_eq!(found, [0b0111_1000, 0b1011_0000, 0b1000_1000, 0b0010_0000, 0b0101_1000, 0b0010_1000]);
    assert_eq!(aging.victim(), Some(3));
}

#[test]
fn a_scan_evicts_what_is_used_often_under_lru_and_not_under_lru_2() {
    // Two pages that are used all the time, and a scan of thirty.
    let references: Vec<u8> =
        (0..30).flat_map(|scan| [0, 1, 0, 1, 100 + scan, 150 + scan, 200 + scan]).collect();
    assert!(lru::<1>(4, &references) > 30 * 3 + 2);
    assert_eq!(lru::<2>(4, &references), 30 * 3 + 2);
}

proptest! {
    #[test]
    fn nobody_has_fewer_faults_than_the_optimum_and_lru_is_a_stack(
        references in prop::collection::vec(0..12u8, 1..200), frames in 1..10usize, period in 1..20usize,
    ) {
        let least = optimal(frames, &references);
        let all = [
            fifo(frames, &references), clock(frames, &references), lru::<1>(frames, &references),
            lru::<2>(frames, &references), aging(frames, &references, period),
        ];
        prop_assert!(all.iter().all(|count| *count >= least), "{all:?} {least}");
        prop_assert!(lru::<1>(frames + 1, &references) <= all[2]);
        prop_assert!(optimal(frames + 1, &references) <= least);
        // A tick for each reference, and at most 32 of them since: aging is LRU then.
        if references.len() <= 32 {
            prop_assert_eq!(aging(frames, &references, 1), all[2]);
        }
    }

    #[test]
    fn a_victim_is_there_and_removals_in_any_order_are_kept(
        ops in prop::collection::vec((0..8usize, 0..4u8), 1..200),
    ) {
        let (mut links, mut marks) = ([Links::NONE; 8], [0; 8]);
        let (mut ages, mut uses) = ([Age::default(); 8], [[0; 2]; 8]);
        let mut policies: [Box<dyn Policy>; 4] = [
            Box::new(Fifo::new(&mut links)), Box::new(Clock::new(&mut marks)),
            Box::new(Aging::new(&mut ages)), Box::new(Lru::<2>::new(&mut uses)),
        ];
        let mut here = vec![];
        for (place, what) in ops {
            for policy in &mut policies {
                match what {
                    0 | 1 if !here.contains(&place) => policy.insert(place),
                    0 | 1 => policy.touch(place),
                    2 => policy.remove(place),
                    _ => policy.tick(),
                }
            }
            match what {
                0 | 1 if !here.contains(&place) => here.push(place),
                2 => here.retain(|other| *other != place),
                _ => {}
            }
            for (nth, policy) in policies.iter_mut().enumerate() {
                let victim = policy.victim();
                prop_assert_eq!(victim.is_none(), here.is_empty());
                prop_assert!(victim.is_none_or(|victim| here.contains(&victim)));
                prop_assert!(nth != 0 || victim == here.first().copied());
            }
        }
    }
}
