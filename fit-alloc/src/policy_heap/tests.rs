//! The tables of the heaps by themselves, against plain arrays.
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use super::map;
use super::sections::Sections;

/// Numbers without a visible order: a multiplicative generator modulo 2^31 − 1 (Park and Miller, CACM 1988).
fn numbers(seed: u32) -> impl FnMut(u32) -> u32 {
    let mut state = u64::from(seed);
    move |below| {
        state = state * 48_271 % 0x7fff_ffff;
        u32::try_from(state % u64::from(below)).unwrap()
    }
}

#[test]
fn sections_find_what_a_scan_finds() {
    for (sections, rounds) in
        [(1, 50), (16, 200), (17, 200), (300, 600), (5_000, if cfg!(miri) { 50 } else { 3_000 })]
    {
        let mut next = numbers(sections + 7);
        let count = sections;
        let sections = sections as usize;
        let (levels, entries) = Sections::over(sections);
        let (mut table, mut plain) = (vec![0; entries], vec![0_u32; sections]);
        for _ in 0..rounds {
            let at = next(count) as usize;
            plain[at] = next(2) * next(40);
            levels.update(&mut table, at, plain[at]);
            let (from, size) = (next(count) as usize, 1 + next(40));
            let fits: Vec<usize> = (0..sections).filter(|at| plain[*at] >= size).collect();
            let first = fits.iter().copied().find(|at| *at >= from);
            let last = fits.iter().rev().copied().find(|at| *at <= from);
            assert_eq!(levels.first(&table, from, size), first);
            assert_eq!(levels.last(&table, from, size), last);
            assert_eq!(levels.first(&table, sections, size), None);
            assert_eq!(levels.largest(&table), plain.iter().copied().max().unwrap_or(0));
        }
        levels.check(&table, sections, |at| plain[at]).unwrap();
        table[0] = 100;
        levels.check(&table, sections, |at| plain[at]).unwrap_err();
    }
}

#[test]
fn the_map_reads_as_an_array_of_bits() {
    let span = 300;
    let mut next = numbers(5);
    let (mut words, mut plain) = (vec![0; map::words(span)], vec![false; span as usize + 1]);
    for _ in 0..if cfg!(miri) { 60 } else { 2_000 } {
        let start = next(span);
        let size = 1 + next(span - start);
        let (free, range) = (next(2) == 0, start as usize..(start + size) as usize);
        assert_eq!(map::all(&words, start, size, free), plain[range.clone()].iter().all(|bit| *bit == free));
        map::mark(&mut words, start, size, free);
        plain[range].fill(free);
        let bit = |at: usize| plain[at];
        let at = start as usize;
        assert_eq!(map::is_free(&words, start), bit(at));
        assert_eq!(map::begins(&words, start), bit(at) && (at == 0 || !bit(at - 1)));
        assert_eq!(map::ends(&words, start + 1), bit(at) && !bit(at + 1));
        for free in [false, true] {
            let found = (at..span as usize).find(|at| bit(*at) == free).unwrap_or(span as usize);
            assert_eq!(map::next(&words, start, span, free) as usize, found);
        }
        let section = map::section(start);
        let bits = (0..map::BITS as usize).filter(|place| {
            let at = section * map::BITS as usize + place;
            at <= span as usize && bit(at) && (at == 0 || !bit(at - 1))
        });
        assert_eq!(map::starts(&words, section), bits.fold(0, |mask, place| mask | 1 << place));
        let end = (section + 1) * map::BITS as usize;
        let run = (at..end).take_while(|at| *at <= span as usize && bit(*at)).count();
        assert_eq!(map::run(&words, start) as usize, run);
    }
}
