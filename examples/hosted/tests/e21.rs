//! The tour runs to its end, and every frame is back.

#[test]
fn e21_a_machine_is_brought_up_and_put_away() {
    let mut text = String::new();
    let outcome = hectare_example_hosted::tour(&mut text);
    assert!(outcome.is_ok(), "{text}\n{outcome:?}");
    assert!(text.ends_with("15869 of 15869 frames are free again\n"), "{text}");
}

/// The README shows what the program prints. The rows of slabinfo and buddyinfo are left out: they tell how today's
/// allocators keep slabs and batches; so is how often translations are invalidated.
#[test]
fn the_readme_shows_the_output() {
    let mut text = String::new();
    hectare_example_hosted::tour(&mut text).expect("the tour runs to its end");
    let readme = include_str!("../README.md");
    let shown = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let row = |line: &&str| {
        !["kmalloc-", "task_struct", "Node ", "a real CPU"].iter().any(|start| line.starts_with(start))
    };
    let lines = |text: &str| text.lines().map(str::trim_end).filter(row).collect::<Vec<_>>().join("\n");
    assert_eq!(
        shown.map(lines),
        Some(lines(&text)),
        "copy what `cargo run -p hectare-example-hosted` prints"
    );
}
