//! The x86 model against a CPU.
//!
//! Linux lets any program write descriptors into its own local table (`modify_ldt`). Each case here writes a random
//! one, asks the CPU to decode it (LSL, LAR, VERR, VERW), and in 32-bit mode loads it and makes one access through it.
//! What the CPU does must be what the model says: which exception with which error code, or which linear address.
//!
//! ```text
//!   64-bit test ──far return──► low page, 32-bit code:  mov gs, ax │ access gs:[edx] │ far jump ──► 64-bit again
//!                                      └── #GP, #NP ──┴── #GP, #PF ──┘ ──signal──► notes it, resumes at the end
//! ```
//! A page fault counts as an access that the segment permitted: it tells the linear address.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test that pokes at the CPU")]

#[path = "silicon/cases.rs"]
mod cases;
#[path = "silicon/machine.rs"]
mod machine;

use hectare_segmentation::x86::{Exception, Ring, Selector, TableView};
use machine::{Machine, Outcome};

const CASES: u32 = 100_000;

#[test]
fn the_model_does_what_the_cpu_does() {
    let Some((permitted, refused)) = cases::run(CASES) else {
        println!("SKIPPED: this system has no modify_ldt, or no 32-bit mode");
        return;
    };
    println!("{permitted} accesses permitted, {refused} refused, 0 mismatches");
    assert!(permitted > CASES / 10 && refused > CASES / 10, "both outcomes are tried");
}

/// The null selector and a selector beyond the table.
#[test]
fn selectors_without_a_descriptor() {
    let Some(mut machine) = Machine::new() else {
        println!("SKIPPED: this system has no modify_ldt, or no 32-bit mode");
        return;
    };
    assert_eq!(machine.access_through(0, 0, 1, false), Outcome::Access(13, 0));
    let beyond = 0xFFFF;
    assert_eq!(machine.access_through(beyond, 0, 1, false), Outcome::Load(13, 0xFFFC));
    let tables = TableView { global: &[0], local: &[] };
    assert_eq!(
        tables.load_data(Selector::from_bits(beyond), Ring::Ring3),
        Err(Exception::Protection(0xFFFC))
    );
}
