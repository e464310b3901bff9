//! Every page-frame allocator replays a small program correctly, every deliberate fault is found, and `compare frames`
//! is what other scripts expect.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hectare_benches::clock::Scale;
use hectare_benches::frames::{
    ALLOCATORS, Allocator, Breach, Latencies, Memory, Op, Program, Survey, geo, procs, select,
};
use hectare_benches::heap::{Class, Threads};
use hectare_testkit::trace::frames::{FrameOp, FrameTrace, Mobility};
use serde_json::Value;

/// Blocks of orders 0 to 9 on two CPUs, some of which are live at the end; a quarter of the memory at most.
fn program(count: usize) -> Program {
    let (mut state, mut live, mut dead, mut slots) = (0x1234_5678_9abc_def1_u64, Vec::new(), Vec::new(), 0);
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    let mut ops = Vec::new();
    for _ in 0..count {
        let cpu = random(2) as u8;
        if live.len() > 300 || (!live.is_empty() && random(3) == 0) {
            let op: Op = live.swap_remove(random(live.len()));
            dead.push(op.slot);
            ops.push(Op { free: true, cpu, ..op });
        } else {
            let slot = dead.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            });
            let order = if random(40) == 0 { 9 } else { random(4) as u8 };
            let op = Op { slot, order, free: false, cpu };
            live.push(op);
            ops.push(op);
        }
    }
    Program::new("small", ops, 40 << 9)
}

fn named(name: &str) -> &'static Allocator {
    ALLOCATORS.iter().find(|a| a.name == name).unwrap()
}

fn surveyed(name: &str, program: &Program) -> Survey {
    let mut memory = Memory::new(program.memory()).unwrap();
    (named(name).survey)(program, &mut memory, u64::MAX).unwrap()
}

/// Who should keep every promise on the small program.
fn sound() -> impl Iterator<Item = &'static Allocator> {
    let is_sound = |a: &&Allocator| match a.class {
        Class::General | Class::Lesser(_) => true,
        _ => a.name == "broken/none",
    };
    ALLOCATORS.iter().filter(is_sound)
}

#[test]
fn every_allocator_of_frames_passes_every_measurement() {
    let program = program(6000);
    let mut memory = Memory::new(program.memory()).unwrap();
    for allocator in sound() {
        let name = allocator.name;
        let survey = (allocator.survey)(&program, &mut memory, u64::MAX).unwrap();
        // offset-allocator knows no alignment: that is what its class says.
        let expected = (name == "offset-allocator").then_some(Breach::Misaligned);
        assert_eq!(survey.breach.map(|(breach, _)| breach), expected, "{name}");
        assert_eq!((survey.ops, survey.failed, survey.refused_in_vain), (6000, 0, None), "{name}");
        let end = survey.samples.last().unwrap();
        let live: u64 = program.survivors().iter().map(|op| 1 << op.order).sum();
        assert_eq!((end.live, end.live + end.free), (live, program.memory() as u64), "{name}");
        let counted: u64 = end.blocks.iter().enumerate().map(|(order, blocks)| blocks << order).sum();
        assert_eq!(counted, end.free, "{name}");
        assert!(survey.extent > 0 && survey.extent <= program.memory() as u64, "{name}");
        let pass = (allocator.timed)(&program, &mut memory, u64::MAX).unwrap();
        assert!(pass.ns > 0 && pass.ops == 8 * 6000 && pass.failed == 0, "{name}");
        let mut latencies = Latencies::new(&program);
        assert!((allocator.latency)(&mut latencies, &program, &mut memory));
        assert_eq!(latencies.histogram(&Scale::calibrate()).unwrap().len(), 6000, "{name}");
        let pass = (allocator.timed)(&program, &mut memory, 1).unwrap();
        assert!(pass.ops > 0 && pass.ops < 8 * 6000, "{name}: not cut");
    }
}

#[test]
fn threads_do_every_operation_on_frames_once() {
    let program = program(6000);
    assert_eq!(program.cpus(), 2);
    for allocator in sound() {
        for (threads, copies) in [(Threads::Real, 1), (Threads::Many(3), 3), (Threads::Many(1), 1)] {
            let mut memory = Memory::new(program.memory() * copies).unwrap();
            let pass = (allocator.threaded)(&program, &mut memory, threads).unwrap();
            let name = allocator.name;
            assert_eq!((pass.ops, pass.failed, pass.ns > 0), (6000 * copies, 0, true), "{name} {threads:?}");
        }
    }
}

#[test]
fn every_fault_of_frames_is_found_and_named() {
    let program = program(3000);
    let found = |name: &str| surveyed(name, &program).breach.map(|(breach, _)| breach);
    assert_eq!(found("broken/none"), None);
    assert_eq!(found("hectare-broken/overlap"), Some(Breach::Overlap));
    assert_eq!(found("hectare-broken/misaligned"), Some(Breach::Misaligned));
    assert_eq!(found("hectare-broken/outside"), Some(Breach::Outside));
    assert_eq!(found("hectare-broken/lost"), Some(Breach::Lost));
    assert_eq!(found("hectare-broken/not-taken"), Some(Breach::NotTaken));
    let refusing = surveyed("hectare-broken/refuses", &program);
    assert!(refusing.refused_in_vain.is_some() && refusing.failed > 0);
}

/// A request that nobody could serve is not held against anybody.
#[test]
fn a_full_memory_refuses_rightly() {
    let op = |slot, order, free| Op { slot, order, free, cpu: 0 };
    let fill = (0..1024).map(|slot| op(slot, 0, false));
    // Every other frame comes back, and then two neighbours are asked for.
    let holes = (0..1024).step_by(2).map(|slot| op(slot, 0, true));
    let program = Program::new("full", fill.chain(holes).chain([op(1024, 1, false)]).collect(), 1024);
    for allocator in sound().filter(|a| a.class == Class::General) {
        let survey = surveyed(allocator.name, &program);
        assert_eq!(
            (survey.failed, survey.refused_in_vain, survey.breach),
            (1, None, None),
            "{}",
            allocator.name
        );
        assert!((survey.samples.last().unwrap().unusable_2m - 1.0).abs() < 1e-9, "{}", allocator.name);
    }
}

#[test]
fn the_engine_keeps_huge_pages_where_lists_do_not() {
    let program = geo(1 << 16, 1_000_000, 7);
    let share = |name: &str| 1.0 - surveyed(name, &program).samples.last().unwrap().unusable_2m;
    let (ours, lists) = (share("hectare-buddy"), share("buddy-slab-allocator"));
    assert!(ours > 0.75 && ours > lists + 0.1, "{ours} {lists}");
    let program = procs(1 << 16, 200_000, 7);
    assert_eq!(surveyed("hectare-buddy", &program).refused_in_vain, None);
}

#[test]
fn frame_allocators_are_selected_by_name() {
    let names = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(|&name| name.to_owned()).collect();
        select(&list).map(|chosen| chosen.iter().map(|a| a.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&["free-list", "hectare-buddy"]), Ok(vec!["hectare-buddy", "free-list"]));
    assert_eq!(names(&["talc"]), Err("talc".to_owned()));
    assert!(names(&[]).unwrap().iter().all(|name| !name.contains("broken")));
    let unique: std::collections::HashSet<_> = ALLOCATORS.iter().map(|a| a.name).collect();
    assert_eq!(unique.len(), ALLOCATORS.len());
}

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compare")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file in a directory of this test's own.
fn file(test: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("frames").join(test);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// The small program as a file.
fn trace(test: &str) -> PathBuf {
    let mut ops = Vec::new();
    for op in program(3000).ops() {
        let (slot, order) = (op.slot, op.order);
        ops.push(FrameOp::Cpu { cpu: u32::from(op.cpu) });
        ops.push(if op.free {
            FrameOp::Free { slot }
        } else {
            let mobility = Mobility::Movable;
            FrameOp::Allocate { slot, order, mobility, zeroed: false, movable: true, accounted: false }
        });
    }
    let path = file(test, "tiny.ftrc");
    std::fs::write(&path, FrameTrace::from_ops("tiny", false, ops).unwrap().encode()).unwrap();
    path
}

fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn compare_frames_writes_the_fixed_fields_and_a_report() {
    let (trace, json, html) = (trace("run"), file("run", "a.json"), file("run", "a.html"));
    let words = ["frames", trace.to_str().unwrap(), "--rounds", "2", "--quiet"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let output = compare(&[&words[..], &files[..]].concat());
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
    let rows = json_lines(&json);
    let row = |name: &str| rows.iter().find(|row| row["allocator"] == name).unwrap();
    let fixed = [
        "allocator",
        "external_fragmentation",
        "failed",
        "kind",
        "max_ns",
        "metadata_bytes",
        "ns_per_op",
        "ops",
        "p50_ns",
        "p999_ns",
        "p99_ns",
        "peak_live_bytes",
        "peak_used_bytes",
        "trace",
        "unusable_2m",
        "valid",
    ];
    let mut fields: Vec<&str> =
        row("hectare-buddy").as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, fixed);
    assert_eq!(
        (&row("hectare-buddy")["kind"], &row("hectare-buddy")["trace"]),
        (&"frames".into(), &"tiny".into())
    );
    assert_eq!((&row("free-list")["ops"], &row("free-list")["valid"]), (&3000.into(), &true.into()));
    assert_eq!(row("offset-allocator")["valid"], false);
    assert!(row("free-list")["metadata_bytes"].is_null(), "nobody knows");
    let page = std::fs::read_to_string(&html).unwrap();
    for external in ["http://", "https://", "src=\"/", "url("] {
        assert!(!page.contains(external), "the report refers to {external}");
    }
    for wanted in ["Usable as 2 MiB, over time", "Free memory by order", "id=\"frames-tiny\""] {
        assert!(page.contains(wanted), "{wanted}");
    }
}

#[test]
fn compare_frames_says_whose_fault_it_was() {
    let (trace, json) = (trace("fault"), file("fault", "a.json"));
    let run = |name: &str| {
        let words = ["frames", trace.to_str().unwrap(), "--rounds", "1", "--allocators", name];
        compare(&[&words[..], &["--json", json.to_str().unwrap()]].concat())
    };
    for fault in ["overlap", "misaligned", "outside", "refuses", "lost", "not-taken", "crash"] {
        let output = run(&format!("hectare-buddy,hectare-broken/{fault}"));
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", stderr(&output));
        assert!(stderr(&output).contains("tiny"), "{}", stderr(&output));
    }
    for fault in ["overlap", "crash"] {
        let output = run(&format!("hectare-buddy,broken/{fault}"));
        assert_eq!(output.status.code(), Some(0), "{fault}: {}", stderr(&output));
        let rows = json_lines(&json);
        assert!(rows[0]["ns_per_op"].is_f64() && rows[1]["ns_per_op"].is_null(), "{rows:?}");
    }
}

#[test]
fn compare_frames_with_threads_and_broken_traces() {
    let (trace, json) = (trace("threads"), file("threads", "a.json"));
    for threads in ["real", "3"] {
        let words = ["frames", trace.to_str().unwrap(), "--rounds", "2", "--allocators", "hectare-buddy"];
        let more = ["--threads", threads, "--json", json.to_str().unwrap()];
        let output = compare(&[&words[..], &more[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("For tiny choose hectare-buddy"));
        let rows = json_lines(&json);
        assert!(rows[0]["ns_per_op"].is_f64() && rows[0]["p50_ns"].is_null(), "{rows:?}");
    }
    let whole = std::fs::read(&trace).unwrap();
    let cut = file("threads", "cut.ftrc");
    std::fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    let output = compare(&["frames", cut.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cut.ftrc") && stderr(&output).contains("byte"), "{}", stderr(&output));
}
