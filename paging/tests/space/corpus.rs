//! Replays the corpus of the fuzz target `vm`.

use hectare_testkit::fuzz::corpus;

use crate::vm_case::case;

#[test]
fn the_vm_corpus_passes() {
    let cases = corpus("vm").into_iter().take(if cfg!(miri) { 1 } else { usize::MAX });
    for (name, bytes) in cases {
        println!("{name}");
        case(&bytes);
    }
}
