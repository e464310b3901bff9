//! What the fuzz targets do with their bytes. A broken rule is a panic; so the corpus can be replayed by a plain test.
//!
//! The corpus lies in `fuzz/corpus/<target>` of the workspace, one file a case.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use hectare_core::{CheckInvariants, Extent, FrameSource, PhysWindow, RangeSource, Violation};

use crate::arena::Arena;
use crate::drive::vm::{SpacesUnderTest, VmModel};
use crate::drive::{
    CacheUnderTest, FrameModel, HeapModel, HeapUnderTest, Model, ObjectModel, RangeModel, drive,
};
use crate::op::{FrameOp, HeapOp, ObjectOp, RangeOp, VmOp, decode_all};
use crate::stand_in::{NaiveRanges, PlainFrames};
use crate::trace::frames::FrameTrace;
use crate::trace::heap::HeapTrace;
use crate::trace::objects::ObjectTrace;
use crate::trace::vm::VmTrace;
use crate::trace::{Problem, TraceError, decompress};

/// The cases of a target: file name and content, by name.
///
/// # Panics
/// There are none, or they cannot be read.
#[must_use]
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("a folder of cases");
    let mut cases: Vec<_> = files
        .map(|file| {
            let path = file.expect("an entry of the folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a case"))
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    cases
}

/// Drives a model with operations, and checks it after every few of them.
fn run<M: Model>(mut model: M, ops: impl IntoIterator<Item = M::Op>) {
    if let Err(failure) = drive(&mut model, ops, 8) {
        panic!("{failure}");
    }
}

/// The first byte of a case chooses how it begins; the others are operations.
fn choice(bytes: &[u8]) -> (u32, &[u8]) {
    match bytes.split_first() {
        Some((first, rest)) => (u32::from(*first), rest),
        None => (0, bytes),
    }
}

/// Target `heap`: an empty heap in an arena of 64 KiB, with up to three regions at the start.
///
/// # Panics
/// The heap broke a rule.
pub fn heap<H: HeapUnderTest>(heap: H, bytes: &[u8]) {
    let (choice, bytes) = choice(bytes);
    let model = HeapModel::new(heap, Arena::new(1 << 16, 64)).looking_at(128);
    // Large enough for any heap's own tables, at any alignment, side by side or apart.
    let regions = (0..choice % 4).map(|region| HeapOp::AddRegion {
        start: region * 0x4000 + (choice >> 2 & 15),
        length: 0x4000 - (choice >> 6) * 0x1234,
    });
    let ops: Vec<_> = regions.chain(decode_all(bytes, HeapOp::decode)).collect();
    run(model, ops);
}

/// Chooses what a target tries: the last byte of a case, modulo `kinds`. To read the case the byte is not needed, so that
/// tests replay it on every kind.
#[must_use]
pub fn kind(bytes: &[u8], kinds: usize) -> usize {
    bytes.last().map_or(0, |last| usize::from(*last) % kinds)
}

/// Target `frames`: any source of frames.
///
/// # Panics
/// The source broke a rule.
pub fn frames<S: FrameSource, W: PhysWindow>(model: FrameModel<S, W>, bytes: &[u8]) {
    run(model, decode_all(bytes, FrameOp::decode));
}

/// The model that target `frames` drives when no other source is to be tried.
#[must_use]
pub fn plain_frames() -> FrameModel<PlainFrames<6>, impl PhysWindow> {
    let source = PlainFrames::new(5, 300);
    let (all, window) = (source.all(), source.window());
    let all_free = |source: &PlainFrames<6>| {
        Violation::unless(source.free() == source.all().count(), "every frame is free", source.free())
    };
    FrameModel::new(source, &[all], Some(window))
        .taking_parts()
        .complete()
        .checking(PlainFrames::check_invariants, all_free)
}

/// Target `objects`: any cache of equal objects.
///
/// # Panics
/// The cache broke a rule.
pub fn objects<C: CacheUnderTest>(model: ObjectModel<C>, bytes: &[u8]) {
    run(model, decode_all(bytes, ObjectOp::decode));
}

/// Target `ranges`: any source of ranges.
///
/// # Panics
/// The source broke a rule.
pub fn ranges<S: RangeSource>(model: RangeModel<S>, bytes: &[u8]) {
    run(model, decode_all(bytes, RangeOp::decode));
}

/// The model that target `ranges` drives when no other source is to be tried.
///
/// # Panics
/// Never: the space is not empty.
#[must_use]
pub fn naive_ranges() -> RangeModel<NaiveRanges> {
    let space = Extent::new(9, 1 << 14).expect("a space");
    let one_hole = |source: &NaiveRanges| Violation::unless(source.holes().len() == 1, "one hole is left", 0);
    RangeModel::new(NaiveRanges::new(space), &[space])
        .complete()
        .checking(NaiveRanges::check_invariants, one_hole)
}

/// Target `vm`: address spaces of up to four processes, each with so many pages.
///
/// # Panics
/// An address space broke a rule.
pub fn vm<S: SpacesUnderTest>(model: &mut VmModel<S>, pages: u16, bytes: &[u8]) {
    if let Err(failure) = drive(model, decode_all(bytes, |bytes| VmOp::decode(bytes, pages)), 16) {
        panic!("{failure}");
    }
}

/// Target `traces`: the bytes as a file of each format, and as the operations behind a header that is put right, so
/// that neither the checksum nor the figures stop every case. What reads must write and read equal.
///
/// # Panics
/// A reader broke a rule.
pub fn traces(bytes: &[u8]) {
    let unpacked = decompress(bytes).ok();
    for file in [Some(bytes), unpacked.as_deref()].into_iter().flatten() {
        round_trip(file, HeapTrace::read, HeapTrace::encode);
        round_trip(file, FrameTrace::read, FrameTrace::encode);
        round_trip(file, ObjectTrace::read, ObjectTrace::encode);
        round_trip(file, VmTrace::read, VmTrace::encode);
    }
    put_right(b"HTRC", bytes, HeapTrace::read, HeapTrace::encode);
    put_right(b"FTRC", bytes, FrameTrace::read, FrameTrace::encode);
    put_right(b"KTRC", bytes, ObjectTrace::read, ObjectTrace::encode);
}

/// Reads a file; if that succeeds, what it holds must write and read equal. Otherwise the reason.
fn round_trip<T: PartialEq>(
    file: &[u8],
    read: impl Fn(&[u8]) -> Result<T, TraceError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<TraceError> {
    match read(file) {
        Ok(trace) => {
            let again = read(&encode(&trace)).expect("what was written reads");
            assert!(again == trace, "what was written reads as something else");
            None
        }
        Err(error) => {
            let offset = error.offset().expect("an offset");
            assert!(offset <= file.len() as u64, "offset {offset} of {} bytes: {error}", file.len());
            Some(error)
        }
    }
}

/// Puts a header before `ops` and END behind them, and corrects each figure that the reader complains of. Whether the
/// trace could be read in the end.
fn put_right<T: PartialEq>(
    magic: &[u8; 4],
    ops: &[u8],
    read: impl Fn(&[u8]) -> Result<T, TraceError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let mut file = magic.to_vec();
    file.extend([1, 0, 0, 0, 72, 0, 0, 0]);
    file.extend(crc32fast::hash(&[ops, &[0]].concat()).to_le_bytes());
    file.extend([0; 8]);
    file.extend((ops.len() as u64 + 1).to_le_bytes());
    file.extend([0; 40]);
    file.extend(ops);
    file.push(0);
    for _ in 0..8 {
        let Some(error) = round_trip(&file, &read, &encode) else { return true };
        let (Some(Problem::Figure { found, .. }), Some(at)) = (error.problem(), error.offset()) else {
            return false;
        };
        // Slots and threads have 32 bits, the other figures 64.
        let width = if (32..40).contains(&at) { 4 } else { 8 };
        let Some(field) = usize::try_from(at).ok().and_then(|at| file.get_mut(at..at + width)) else {
            return false;
        };
        field.copy_from_slice(&found.to_le_bytes()[..width]);
    }
    false
}

/// Whether [`traces`] can put right a case that holds only operations: for the test that it reaches the readers' ends.
#[must_use]
pub fn reads_as_heap_trace(ops: &[u8]) -> bool {
    put_right(b"HTRC", ops, HeapTrace::read, HeapTrace::encode)
}
