//! Every allocator replays a small program correctly, and every deliberate fault is found.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use hectare_benches::arena::Arena;
use hectare_benches::clock::Scale;
use hectare_benches::heap::{
    ALLOCATORS, Allocator, Breach, Builder, CAP, Class, Latencies, Op, OpKind, Program, Survey, Threads,
    select,
};

/// A program with every kind of operation: sizes from 1 byte to 300 KiB, alignments up to 4 KiB, growth, zeroed
/// blocks, survivors.
fn program(count: u32) -> Program {
    let mut builder = Builder::default();
    let (mut state, mut live, mut dead) = (0x1234_5678_9abc_def1_u64, Vec::new(), Vec::new());
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..count {
        let large = random(50) == 0;
        let size = if large { random(300 << 10) } else { random(600) };
        match random(8) {
            0..=2 => {
                let slot = dead.pop().unwrap_or(live.len() as u32);
                let align = if random(10) == 0 { 4 + random(9) as u8 } else { 0 };
                builder.allocate(slot, size, align, random(4) == 0).unwrap();
                live.push(slot);
            }
            3..=5 if live.len() > 200 => {
                let slot = live.swap_remove(random(live.len() as u64) as usize);
                builder.free(slot).unwrap();
                dead.push(slot);
            }
            _ if !live.is_empty() => {
                builder.reallocate(live[random(live.len() as u64) as usize], size).unwrap()
            }
            _ => {}
        }
    }
    builder.finish("small")
}

fn arena_of(program: &Program) -> (Arena, usize) {
    let bytes = program.arena_bytes(2);
    (Arena::new(bytes).unwrap(), bytes)
}

fn surveyed(name: &str, program: &Program) -> Survey {
    let allocator = ALLOCATORS.iter().find(|a| a.name == name).unwrap();
    let (mut arena, bytes) = arena_of(program);
    (allocator.survey)(program, &mut arena, bytes, u64::MAX).unwrap()
}

/// Who should keep every promise on the small program.
fn sound() -> impl Iterator<Item = &'static Allocator> {
    ALLOCATORS
        .iter()
        .filter(|a| a.is_candidate() || matches!(a.class, Class::Lesser(_)) || a.name == "broken/none")
}

#[test]
fn every_allocator_passes_every_measurement() {
    let program = program(4000);
    let (mut arena, bytes) = arena_of(&program);
    for allocator in sound() {
        let survey = (allocator.survey)(&program, &mut arena, bytes, u64::MAX).unwrap();
        // buddy-alloc ignores alignment: that is what its class says.
        let expected = (allocator.name == "buddy-alloc").then_some(Breach::Misaligned);
        assert_eq!(survey.breach.map(|(breach, _)| breach), expected, "{}", allocator.name);
        assert_eq!(survey.ops, program.ops().len(), "{}", allocator.name);
        if survey.failed == 0 {
            assert_eq!(survey.samples.last().unwrap().live, survivors_bytes(&program), "{}", allocator.name);
            assert_eq!(survey.at_peak.unwrap().live, program.peak_bytes(), "{}", allocator.name);
        }
        let pass = (allocator.timed)(&program, &mut arena, bytes, u64::MAX).unwrap();
        assert!(pass.ns > 0 && pass.ops == program.ops().len(), "{}", allocator.name);
        assert_eq!(pass.failed, survey.failed, "{}: the passes differ", allocator.name);
        let mut latencies = Latencies::new(&program);
        assert!((allocator.latency)(&mut latencies, &program, &mut arena, bytes));
        let histogram = latencies.histogram(&Scale::calibrate()).unwrap();
        assert_eq!(histogram.len(), program.ops().len() as u64, "{}", allocator.name);
        if allocator.class == Class::General {
            assert_eq!(survey.failed, 0, "{}", allocator.name);
            assert!(survey.peak_used >= program.peak_bytes(), "{}", allocator.name);
        }
    }
}

fn survivors_bytes(program: &Program) -> u64 {
    program.survivors().iter().map(|op| u64::from(op.old)).sum()
}

#[test]
fn a_pass_is_cut_at_its_limit() {
    let program = program(40_000);
    let (mut arena, bytes) = arena_of(&program);
    for allocator in sound().filter(|a| a.name != "broken/none") {
        let pass = (allocator.timed)(&program, &mut arena, bytes, 1).unwrap();
        assert!(pass.ops > 0 && pass.ops < program.ops().len(), "{}", allocator.name);
    }
}

#[test]
fn every_fault_is_found_and_named() {
    let program = program(4000);
    let found = |name: &str| surveyed(name, &program).breach.map(|(breach, _)| breach);
    assert_eq!(found("broken/none"), None);
    assert_eq!(found("hectare-broken/overlap"), Some(Breach::Overlap));
    assert_eq!(found("hectare-broken/misaligned"), Some(Breach::Misaligned));
    assert_eq!(found("hectare-broken/outside"), Some(Breach::Outside));
    assert_eq!(found("hectare-broken/not-zeroed"), Some(Breach::NotZeroed));
    assert_eq!(found("hectare-broken/lost-byte"), Some(Breach::LostBytes));
    let refusing = surveyed("hectare-broken/refuses", &program);
    assert_eq!(refusing.breach, None);
    assert!(refusing.refused_in_vain.is_some() && refusing.failed > 0);
    assert_eq!(surveyed("talc", &program).refused_in_vain, None);
}

#[test]
fn the_smallest_heap_suffices_and_one_per_cent_less_does_not() {
    let program = program(20_000);
    let mut arena = Arena::new((CAP * program.peak_bytes() as f64) as usize).unwrap();
    for name in ["talc", "dlmalloc", "linked_list_allocator"] {
        let allocator = ALLOCATORS.iter().find(|a| a.name == name).unwrap();
        let ratios = [1.0, 1.3, 7.9].map(|guess| (allocator.smallest)(&program, &mut arena, guess).unwrap());
        for ratio in ratios {
            let bytes = |ratio: f64| (ratio * program.peak_bytes() as f64) as usize - allocator.state_bytes;
            let fails =
                |bytes| (allocator.timed)(&program, &mut arena, bytes, u64::MAX).is_none_or(|p| p.failed > 0);
            let [at, below] = [bytes(ratio), bytes(ratio - 0.01)].map(fails);
            assert!(!at && below, "{name}: {ratio} of {ratios:?}");
        }
    }
}

#[test]
fn an_allocator_that_hoards_has_no_smallest_heap() {
    let mut builder = Builder::default();
    for _ in 0..1000 {
        builder.allocate(0, 4096, 0, false).unwrap();
        builder.free(0).unwrap();
    }
    let program = builder.finish("again");
    let hoarder = ALLOCATORS.iter().find(|a| a.name == "broken/none").unwrap();
    let mut arena = Arena::new(64 << 10).unwrap();
    assert_eq!((hoarder.smallest)(&program, &mut arena, 1.0), None);
}

#[test]
fn hosted_memory_is_at_least_what_was_asked_for() {
    let mut builder = Builder::default();
    for slot in 0..3000 {
        builder.allocate(slot, 10_000, 0, false).unwrap();
    }
    let program = builder.finish("thirty megabytes");
    let system = ALLOCATORS.iter().find(|a| a.name == "system").unwrap();
    let resident = (system.resident)(&program).unwrap();
    assert!((29_000_000..60_000_000).contains(&resident), "{resident}");
}

#[test]
fn allocators_are_selected_by_name_in_the_order_of_the_tables() {
    let names = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(|&name| name.to_owned()).collect();
        select(&list).map(|chosen| chosen.iter().map(|a| a.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&["system", "talc"]), Ok(vec!["talc", "system"]));
    assert_eq!(names(&["talc", "tlac"]), Err("tlac".to_owned()));
    assert!(names(&[]).unwrap().iter().all(|name| !name.contains("broken")));
    let unique: std::collections::HashSet<_> = ALLOCATORS.iter().map(|a| a.name).collect();
    assert_eq!(unique.len(), ALLOCATORS.len());
}

#[test]
fn an_operation_keeps_what_the_program_says() {
    let program = program(500);
    let is_live_size = |op: &Op| op.size > 0 || op.kind == OpKind::Free;
    assert!(program.ops().iter().all(is_live_size));
    assert!(program.ops().iter().all(|op| (op.slot as usize) < program.slots()));
}

/// Two threads that hand objects to each other: allocated by one, freed by the other, in turns.
fn handing_over() -> Program {
    let mut builder = Builder::default();
    for round in 0..2000_u32 {
        builder.thread(round % 2);
        builder.allocate(round % 50 + 50, 64, 0, round % 3 == 0).unwrap();
        if round >= 49 {
            let slot = (round - 49) % 50 + 50;
            builder.reallocate(slot, 200).unwrap();
            builder.thread((round + 1) % 2);
            builder.free(slot).unwrap();
        }
    }
    builder.finish("handing over")
}

#[test]
fn threads_do_every_operation_once_in_each_objects_order() {
    let program = handing_over();
    assert_eq!(program.threads(), 2);
    assert!(program.thread_of_each().any(|thread| thread == 1));
    for allocator in sound().filter(|a| a.is_candidate()) {
        for threads in [Threads::Real, Threads::Many(3), Threads::Many(1)] {
            let bytes = program.arena_bytes(2) * threads.copies();
            let mut arena = Arena::new(bytes).unwrap();
            let pass = (allocator.threaded)(&program, &mut arena, bytes, threads).unwrap();
            assert_eq!(pass.ops, program.ops().len() * threads.copies(), "{} {threads:?}", allocator.name);
            assert_eq!((pass.failed, pass.ns > 0), (0, true), "{} {threads:?}", allocator.name);
        }
    }
}
