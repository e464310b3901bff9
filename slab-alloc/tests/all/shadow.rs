//! Raw caches against the shadow model, and the fuzz corpus. The properties that the model checks:
//!
//! * objects are aligned, inside the frames, apart, and keep their bytes; nothing beside the frames is written;
//! * the invariants and counts hold after every few operations;
//! * every free of an address that is no live object's is refused;
//! * a refusal comes only when no object is free but reserved ones; reserved ones always come;
//! * at the end every frame is back.

use core::alloc::Layout;

use hectare_testkit::drive::drive;
use hectare_testkit::fuzz::{corpus, objects};
use hectare_testkit::op::objects::strategy;
use proptest::collection::vec;
use proptest::prelude::*;

use self::driven::model;

#[path = "../driven/objects.rs"]
mod driven;

const CASES: u32 = if cfg!(miri) { 2 } else { 150 };
const OPS: usize = if cfg!(miri) { 25 } else { 300 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_size_in_any_slab(
        ops in vec(strategy(80), 0..OPS),
        size in 0usize..300, align_log2 in 0u32..7, slab in 1u32..6, first in 1u64..40, keep in 0usize..3,
    ) {
        let object = Layout::from_size_align(size, 1 << align_log2).unwrap();
        if let Some(mut model) = model::<8>(object, slab, first, 40, keep) {
            drive(&mut model, ops, 4).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
    }

    #[test]
    fn many_words_of_bitmap(ops in vec(strategy(256), 0..OPS), size in 1usize..24) {
        let object = Layout::from_size_align(size, 1).unwrap();
        let mut model = model::<12>(object, 1, 0x30, 3, 1).unwrap();
        drive(&mut model, ops, 16).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }
}

#[test]
fn the_objects_corpus_passes() {
    for (name, bytes) in corpus("objects").into_iter().take(if cfg!(miri) { 2 } else { usize::MAX }) {
        println!("{name}");
        for (size, slab) in [(8, 1), (100, 1), (300, 4)] {
            let object = Layout::from_size_align(size, 8).unwrap();
            if let Some(model) = model::<9>(object, slab, 5, 24, 1) {
                objects(model, &bytes);
            }
        }
    }
}
