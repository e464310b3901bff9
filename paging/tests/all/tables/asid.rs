//! Identifiers against CPUs that remember every translation until they are told to flush.

use alloc::collections::BTreeMap;

use hectare_paging::table::{AsidAllocator, Context};

extern crate alloc;

/// A small generator of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn no_cpu_ever_uses_the_translations_of_another_space() {
    const CPUS: usize = 3;
    for seed in 1..200 {
        let mut random = Random(seed);
        let mut dealt = AsidAllocator::<CPUS>::new(3);
        let mut contexts = [Context::default(); 12];
        // What each CPU's cache holds: the space whose translations are tagged with a number.
        let mut cached: [BTreeMap<u16, usize>; CPUS] = Default::default();
        let mut running: [Option<(usize, u16)>; CPUS] = [None; CPUS];
        for _ in 0..400 {
            let (cpu, space) = (random.below(CPUS), random.below(contexts.len()));
            let activation = dealt.activate(cpu, &mut contexts[space]);
            if activation.flush {
                cached[cpu].clear();
            }
            let number = activation.asid.number();
            assert_ne!(number, 0);
            running[cpu] = Some((space, number));
            // Whoever runs fills its cache, all the time.
            for (cpu, running) in running.iter().enumerate() {
                let Some((space, number)) = *running else { continue };
                let owner = *cached[cpu].entry(number).or_insert(space);
                assert_eq!(owner, space, "CPU {cpu} finds translations of space {owner} (seed {seed})");
            }
            // An invalidation for a space names one number, so all CPUs run it under that one.
            for (cpu, other) in running.iter().enumerate() {
                let Some((other, tag)) = *other else { continue };
                assert!(other != space || tag == number, "CPU {cpu} runs the space as {tag} (seed {seed})");
                assert!(other == space || tag != number, "two spaces are {tag} (seed {seed})");
            }
        }
        assert!(dealt.generation() > 10, "generations were tried");
    }
}

#[test]
fn a_space_keeps_its_number_within_a_generation_and_flushes_once() {
    let mut dealt = AsidAllocator::<2>::new(12);
    let (mut one, mut two) = (Context::default(), Context::default());
    assert!(dealt.activate(0, &mut one).flush);
    let first = dealt.activate(0, &mut two);
    assert!(!first.flush);
    assert_eq!(dealt.activate(0, &mut two), first);
    let there = dealt.activate(1, &mut two);
    assert!(there.flush);
    assert_eq!(there.asid, first.asid);
}

#[test]
fn too_few_numbers_flush_each_time() {
    let mut dealt = AsidAllocator::<4>::new(2);
    let mut context = Context::default();
    assert!(dealt.activate(0, &mut context).flush && dealt.activate(0, &mut context).flush);
    let mut beyond = AsidAllocator::<1>::new(8);
    assert!(beyond.activate(5, &mut context).flush);
}
