//! The program `compare` as other scripts use it: exit status, JSON, messages.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hectare_testkit::trace::heap::{HeapOp, HeapTrace};
use serde_json::Value;

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compare")).args(arguments).output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file in a directory of this test's own.
fn file(test: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// A trace of 3000 operations.
fn trace(test: &str) -> PathBuf {
    let mut ops = Vec::new();
    for slot in 0..500_u32 {
        ops.push(HeapOp::Allocate { slot, size: u64::from(slot) * 7, align_log2: 4, zeroed: slot % 3 == 0 });
    }
    for round in 1..5_u32 {
        for slot in (0..500).filter(|slot| slot % 5 == round) {
            ops.push(HeapOp::Reallocate { slot, size: u64::from(slot) * 13 + 1 });
            ops.push(HeapOp::Free { slot });
            ops.push(HeapOp::Allocate { slot, size: 100, align_log2: 6, zeroed: false });
        }
    }
    let path = file(test, "tiny.htrc");
    std::fs::write(&path, HeapTrace::from_ops("tiny", false, ops).unwrap().encode()).unwrap();
    path
}

fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_writes_the_fixed_fields_and_a_report_and_nothing_when_quiet() {
    let (trace, json, html) = (trace("run"), file("run", "a.json"), file("run", "a.html"));
    let words = ["heap", trace.to_str().unwrap(), "--rounds", "2", "--quiet"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let output = compare(&[&words[..], &files[..]].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", stderr(&output));
    let rows = json_lines(&json);
    let row = |name: &str| rows.iter().find(|row| row["allocator"] == name).unwrap();
    let fixed = [
        "allocator",
        "external_fragmentation",
        "failed",
        "kind",
        "max_ns",
        "metadata_bytes",
        "min_heap_ratio",
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
    let mut fields: Vec<&str> = row("talc").as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, fixed);
    let absent =
        |name: &str| fixed.iter().copied().filter(|field| row(name)[field].is_null()).collect::<Vec<_>>();
    assert_eq!(
        absent("system"),
        ["external_fragmentation", "metadata_bytes", "min_heap_ratio", "unusable_2m"]
    );
    assert_eq!(row("talc")["kind"], "heap");
    assert_eq!(row("talc")["trace"], "tiny");
    assert_eq!(row("talc")["ops"], 500 + 3 * 400);
    assert_eq!(row("talc")["valid"], true);
    assert_eq!(row("talc")["failed"], 0);
    assert!(row("talc")["min_heap_ratio"].as_f64().unwrap() >= 1.0);
    assert!(row("talc")["p50_ns"].as_f64().unwrap() <= row("talc")["max_ns"].as_f64().unwrap());
    assert_eq!(
        rows.len(),
        10 + rows.iter().filter(|r| r["allocator"].as_str().unwrap().starts_with("hectare-")).count()
    );
    let page = std::fs::read_to_string(&html).unwrap();
    for external in ["http://", "https://", "src=\"/", "url("] {
        assert!(
            !page.replace("http://www.w3.org/2000/svg", "").contains(external),
            "the report refers to {external}"
        );
    }
}

/// A process that maps four pages and writes to one of them; `last` is the kernel's list of its areas.
fn vm_trace(test: &str, last: &str) -> PathBuf {
    let records = format!(
        "X 0 tiny\nI 0 7ff000000000 7ff000021000 rw-p d 0 [stack]\nm 0 10000 4000 3 22 -1 0\nf 0 11008 w\nf 0 12000 r\n\
         f 0 12000 w+\nf 0 7feffffff010 w\nF 0 1\nf 1 11008 w+\nE 1\nu 0 10000 1000\n{last}\nE 0\n"
    );
    let count = records.lines().count();
    let text = format!("VMTRC 1\nname tiny\npage 4096\nprocs 2\nrecords {count}\n{records}");
    let path = file(test, "tiny.vmtrc");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn address_spaces_are_replayed_and_a_difference_is_an_exit_status() {
    let last = "Z 0 11000 14000 rw-p -\nZ 0 7feffffff000 7ff000021000 rw-p [stack]";
    let (trace, json) = (vm_trace("vm", last), file("vm", "a.json"));
    let run = |trace: &Path| {
        let words =
            ["vm", trace.to_str().unwrap(), "--rounds", "1", "--quiet", "--json", json.to_str().unwrap()];
        compare(&words)
    };
    let output = run(&trace);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let rows = json_lines(&json);
    let row = rows.iter().find(|row| row["allocator"] == "hectare-paging").unwrap();
    assert_eq!((row["kind"].as_str(), row["differences"].as_u64()), (Some("vm"), Some(0)));
    assert_eq!((row["ops"].as_u64(), row["faults"].as_u64()), (Some(14), Some(5)));
    assert!(row["tables_peak"].as_u64() >= Some(4) && row["ns_per_fault"].as_f64() > Some(0.0));
    // The kernel had one page more, or the trace is broken.
    let output = run(&vm_trace("vm-differs", &last.replace("14000", "15000")));
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("11000-14000 rw- is not in the kernel's list"), "{}", stderr(&output));
    let output = run(&vm_trace("vm-broken", "Z 0 11000"));
    assert_eq!(status(&output), 2);
}

#[test]
fn the_table_and_the_advice_name_a_choice() {
    let trace = trace("table");
    let output = compare(&["heap", trace.to_str().unwrap(), "--rounds", "1", "--allocators", "talc,rlsf"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(text.contains("talc") && text.contains("rlsf") && !text.contains("dlmalloc"));
    assert!(text.contains("For tiny choose "), "{text}");
}

#[test]
fn threads_are_timed_and_leave_percentiles_out() {
    let (trace, json) = (trace("threads"), file("threads", "a.json"));
    for threads in ["real", "2"] {
        let names = "hectare-slab/cpu,talc,system,empty-loop";
        let words = ["heap", trace.to_str().unwrap(), "--rounds", "2", "--allocators", names];
        let output =
            compare(&[&words[..], &["--threads", threads, "--json", json.to_str().unwrap()]].concat());
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        let rows = json_lines(&json);
        assert!(rows[..3].iter().all(|row| row["ns_per_op"].is_f64() && row["p50_ns"].is_null()), "{rows:?}");
        assert!(rows[3]["ns_per_op"].is_null(), "an empty loop means nothing with threads");
    }
}

#[test]
fn a_fault_of_ours_is_status_1_a_peers_is_a_note() {
    let trace = trace("fault");
    let run = |name: &str, json: &Path| {
        let words = ["heap", trace.to_str().unwrap(), "--rounds", "1", "--allocators"];
        compare(&[&words[..], &[name, "--json", json.to_str().unwrap()]].concat())
    };
    let json = file("fault", "a.json");
    for fault in ["overlap", "misaligned", "outside", "not-zeroed", "lost-byte"] {
        let output = run(&format!("talc,hectare-broken/{fault}"), &json);
        assert_eq!(status(&output), 1, "{fault}: {}", stderr(&output));
        assert!(stderr(&output).contains("tiny"), "{}", stderr(&output));
        assert_eq!(json_lines(&json)[1]["valid"], false);
    }
    for fault in ["refuses", "crash"] {
        assert_eq!(status(&run(&format!("hectare-broken/{fault}"), &json)), 1, "{fault}");
    }
    for fault in ["overlap", "crash"] {
        let output = run(&format!("talc,broken/{fault}"), &json);
        assert_eq!(status(&output), 0, "{fault}: {}", stderr(&output));
        let rows = json_lines(&json);
        assert!(rows[0]["ns_per_op"].is_f64(), "the others' rows are complete");
        assert!(rows[1]["ns_per_op"].is_null(), "no figure of a broken allocator");
    }
}

#[test]
fn bad_arguments_are_status_2_and_say_what_is_right() {
    for (arguments, said) in [
        (&["heap", "--allocators", "tlac"][..], "linked_list_allocator"),
        (&["heep"], "ranges"),
        (&["objects", "--allocators", "tlac"], "slabmalloc"),
        (&["frames", "--allocators", "talc"], "hectare-buddy"),
        (&["--allocators", "tlac"], "tlac"),
        (&["heap", "--rounds", "0"], "--rounds"),
        (&["heap", "--threads", "many"], "real"),
        (&["heap", "--threads", "0"], "real"),
        (&["heap", "--frobnicate"], "--frobnicate"),
        (&["heap", "--json", "/nowhere/x.json"], "/nowhere/x.json"),
        (&["heap", "/nowhere/x.htrc"], "/nowhere/x.htrc"),
    ] {
        let output = compare(arguments);
        assert_eq!(status(&output), 2, "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_broken_trace_is_named_with_its_byte_offset() {
    let whole = std::fs::read(trace("broken")).unwrap();
    let path = file("broken", "cut.htrc");
    for (bytes, offset) in [(&whole[..50], "50"), (&whole[..whole.len() - 100], ""), (&b"HTRX"[..], "")] {
        std::fs::write(&path, bytes).unwrap();
        let output = compare(&["heap", path.to_str().unwrap()]);
        assert_eq!(status(&output), 2);
        let said = stderr(&output);
        assert!(said.contains("cut.htrc") && said.contains("byte") && said.contains(offset), "{said}");
    }
}

#[test]
fn list_shows_allocators_and_traces_and_help_is_no_error() {
    let output = compare(&["list"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(status(&output), 0);
    for word in ["heap", "talc", "system", "sqlite-db", "frames", "vm"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("broken"));
    assert_eq!(status(&compare(&["--help"])), 0);
}

#[test]
fn ranges_are_replayed_by_every_policy_beside_the_peers() {
    let (trace, json, html) = (trace("ranges"), file("ranges", "a.json"), file("ranges", "a.html"));
    let words = ["ranges", trace.to_str().unwrap(), "python", "--rounds", "2", "--quiet"];
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let output = compare(&[&words[..], &files[..]].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let rows = json_lines(&json);
    for name in ["best", "good", "first", "last", "next", "half", "worst"].map(|p| format!("hectare-fit/{p}"))
    {
        let of: Vec<&Value> = rows.iter().filter(|row| row["allocator"] == name.as_str()).collect();
        assert_eq!(of.len(), 2, "{name}");
        for row in of {
            assert_eq!((&row["kind"], &row["valid"]), (&"ranges".into(), &true.into()), "{row}");
            assert!(row["ns_per_op"].as_f64().unwrap() > 0.0 && row["ops"].as_u64().unwrap() > 100, "{row}");
        }
    }
    for name in ["offset-allocator", "range-alloc", "vm-allocator", "free-list"] {
        assert!(rows.iter().any(|row| row["allocator"] == name), "{name}");
    }
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("Holes over time") && page.contains("The claim: first fit"), "the report");
    assert_eq!(status(&compare(&["ranges", "python", "--threads", "2"])), 2);
}
