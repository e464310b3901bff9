//! Replays the fuzz corpus, and sees that the cases reach something.

use hectare_testkit::drive::{HeapModel, drive};
use hectare_testkit::fuzz::{self, corpus, naive_ranges, plain_frames};
use hectare_testkit::op::{HeapOp, decode_all};
use hectare_testkit::stand_in::NaiveHeap;
use hectare_testkit::trace::TraceError;
use hectare_testkit::trace::frames::FrameTrace;
use hectare_testkit::trace::heap::HeapTrace;
use hectare_testkit::trace::objects::ObjectTrace;
use hectare_testkit::trace::vm::VmTrace;

/// Miri replays the first few only.
fn cases(target: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    let cases = corpus(target).into_iter().take(if cfg!(miri) { 3 } else { usize::MAX });
    cases.inspect(|(name, _)| println!("{name}"))
}

#[test]
fn the_heap_corpus_passes() {
    cases("heap").for_each(|(_, bytes)| fuzz::heap(NaiveHeap::new(), &bytes));
}

#[test]
fn the_frames_corpus_passes() {
    cases("frames").for_each(|(_, bytes)| fuzz::frames(plain_frames(), &bytes));
}

#[test]
fn the_ranges_corpus_passes() {
    cases("ranges").for_each(|(_, bytes)| fuzz::ranges(naive_ranges(), &bytes));
}

#[test]
fn the_traces_corpus_passes() {
    cases("traces").for_each(|(_, bytes)| fuzz::traces(&bytes));
}

/// A corpus of cases that are all refused at the first byte would pass too.
#[test]
fn the_corpus_reaches_the_ends_of_the_readers() {
    let traces = corpus("traces");
    let any = |read: fn(&[u8]) -> Result<(), TraceError>| traces.iter().any(|(_, bytes)| read(bytes).is_ok());
    assert!(any(|bytes| HeapTrace::read(bytes).map(drop)));
    assert!(any(|bytes| FrameTrace::read(bytes).map(drop)));
    assert!(any(|bytes| ObjectTrace::read(bytes).map(drop)));
    assert!(any(|bytes| VmTrace::read(bytes).map(drop)));
    assert!(any(|bytes| hectare_testkit::trace::decompress(bytes).map(drop)));
    assert!(traces.iter().any(|(_, bytes)| !bytes.is_empty() && fuzz::reads_as_heap_trace(bytes)));
    let mut regions = 0;
    for (_, bytes) in corpus("heap") {
        let mut arena = hectare_testkit::arena::Arena::new(1 << 16, 64);
        arena.give(0..1 << 14);
        let counts =
            drive(&mut HeapModel::new(NaiveHeap::new(), arena), decode_all(&bytes, HeapOp::decode), 0);
        regions += counts.unwrap().regions;
    }
    assert!(regions > 10);
}
