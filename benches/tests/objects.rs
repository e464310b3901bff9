//! Objects: every fault is found and named, ours keep every rule, and the figures are those of the interface.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hectare_benches::arena::Arena;
use hectare_benches::objects::{ALLOCATORS, Breach, Program, select};
use hectare_testkit::trace::objects::{Cache, ObjectOp, ObjectTrace};
use serde_json::Value;

/// Three caches and kmalloc, on two CPUs, with every live object replaced some times.
fn trace() -> ObjectTrace {
    let cache = |id: u64, object_size: u64, name: &str| Cache { id, object_size, name: name.into() };
    let caches = vec![
        cache(0, 24, "small"),
        cache(1, 1128, "inode"),
        cache(2, 256, "kmalloc-256"),
        cache(3, 5888, "task_struct"),
    ];
    let sizes = caches.iter().map(|cache| cache.object_size).collect::<Vec<_>>();
    let mut ops: Vec<ObjectOp> = (0..4).map(|cache| ObjectOp::Cache { cache }).collect();
    let allocate = |slot: u32| {
        let cache = slot % 4;
        let size = if cache == 2 { u64::from(slot % 256) } else { sizes[cache as usize] };
        ObjectOp::Allocate { slot, cache, size, zeroed: slot.is_multiple_of(5) }
    };
    ops.extend((0..600).map(allocate));
    for round in 0..4 {
        ops.push(ObjectOp::Cpu { cpu: round % 2 });
        for slot in (0..600).filter(|slot| slot % 3 != round % 3) {
            ops.push(ObjectOp::Free { slot });
            ops.push(allocate(slot));
        }
    }
    ObjectTrace::from_ops("tiny", false, caches, ops).unwrap()
}

#[test]
fn every_fault_of_objects_is_found_and_ours_have_none() {
    let program = Program::recorded(&trace()).unwrap();
    let bytes = program.arena_bytes(2);
    let mut arena = Arena::new(bytes).unwrap();
    let mut breach = |name: &str| {
        let allocator = select(&[name.to_owned()]).unwrap()[0];
        let survey = (allocator.survey)(&program, &mut arena, bytes, u64::MAX).unwrap();
        assert!(survey.breach.is_some() || survey.ops == program.ops.len());
        survey.breach.map(|(breach, _)| breach)
    };
    assert_eq!(breach("broken/none"), None);
    assert_eq!(breach("broken/overlap"), Some(Breach::Overlap));
    assert_eq!(breach("hectare-broken/outside"), Some(Breach::Outside));
    assert_eq!(breach("hectare-broken/refuses"), Some(Breach::Refused));
    for allocator in ALLOCATORS.iter().filter(|a| a.is_ours() && !a.name.contains("broken")) {
        assert_eq!(breach(allocator.name), None, "{}", allocator.name);
    }
}

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compare")).args(arguments).output().unwrap()
}

/// A file in a directory of this test's own.
fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("objects");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn objects_are_compared_with_all_fields_and_a_report() {
    let (path, json, html) = (file("tiny.ktrc"), file("a.json"), file("a.html"));
    std::fs::write(&path, trace().encode()).unwrap();
    let words = ["objects", path.to_str().unwrap(), "--rounds", "2", "--quiet"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let output = compare(&[&words[..], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&json).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), select(&[]).unwrap().len());
    for name in ["hectare-slab", "hectare-slab/cache", "hectare-slab/cpu", "slabmalloc", "talc"] {
        let row = rows.iter().find(|row| row["allocator"] == name).unwrap();
        assert_eq!(
            (&row["kind"], &row["trace"], &row["valid"]),
            (&"objects".into(), &"tiny".into(), &true.into())
        );
        for field in ["ops", "ns_per_op", "max_ns", "peak_live_bytes", "peak_used_bytes"] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{name}: {field}");
        }
        assert!(row["p50_ns"].as_f64().unwrap() >= 0.0);
        // slabmalloc takes pages of 2 MiB for large objects, which is more than eight times this peak.
        assert!(name == "slabmalloc" || row["min_heap_ratio"].as_f64().unwrap() >= 1.0, "{name}");
    }
    assert!(std::fs::read_to_string(&html).unwrap().contains("objects-tiny"));
    // A broken rule, and a crash, of ours is the exit status.
    for name in ["hectare-broken/overlap", "hectare-broken/crash"] {
        let output = compare(&["objects", path.to_str().unwrap(), "--allocators", name, "--quiet"]);
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
}
