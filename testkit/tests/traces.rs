//! The trace readers: what is shipped reads, what was written reads equal, what is damaged is refused.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test: small numbers, loud failures"
)]

use std::path::{Path, PathBuf};

use hectare_testkit::trace::frames::{FrameOp, FrameTrace, Mobility};
use hectare_testkit::trace::heap::{HeapOp, HeapTrace};
use hectare_testkit::trace::objects::{Cache, ObjectOp, ObjectTrace};
use hectare_testkit::trace::vm::{Action, VmTrace};
use hectare_testkit::trace::{Problem, TraceError, decompress, load};

/// Xorshift64 (Marsaglia, "Xorshift RNGs", 2003): repeatable noise.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Which slots are live, so that generated operations keep the rules.
#[derive(Default)]
struct Slots {
    live: Vec<u32>,
    free: Vec<u32>,
    used: u32,
}

impl Slots {
    fn take(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        self.live.push(slot);
        slot
    }

    fn any(&self, noise: &mut Noise) -> u32 {
        self.live[noise.below(self.live.len() as u64) as usize]
    }

    fn give(&mut self, noise: &mut Noise) -> u32 {
        let slot = self.live.swap_remove(noise.below(self.live.len() as u64) as usize);
        self.free.push(slot);
        slot
    }
}

fn heap_ops(seed: u64, count: usize) -> Vec<HeapOp> {
    let (mut noise, mut slots, mut ops) = (Noise(seed), Slots::default(), Vec::new());
    while ops.len() < count {
        ops.push(match noise.below(8) {
            kind @ (5 | 6) if !slots.live.is_empty() => match kind {
                5 => HeapOp::Free { slot: slots.give(&mut noise) },
                _ => HeapOp::Reallocate { slot: slots.any(&mut noise), size: 1 + noise.below(1 << 40) },
            },
            7 => HeapOp::Thread { thread: noise.below(300) as u32 },
            kind => HeapOp::Allocate {
                slot: slots.take(),
                size: noise.below(1 << (1 + 6 * kind)),
                align_log2: [4, 4, 4, 12, 3, 62][noise.below(6) as usize],
                zeroed: noise.below(2) == 0,
            },
        });
    }
    ops
}

fn frame_ops(seed: u64, count: usize) -> Vec<FrameOp> {
    let (mut noise, mut slots, mut ops) = (Noise(seed), Slots::default(), Vec::new());
    while ops.len() < count {
        match noise.below(8) {
            0..3 if !slots.live.is_empty() => ops.push(FrameOp::Free { slot: slots.give(&mut noise) }),
            3 => ops.push(FrameOp::Cpu { cpu: noise.below(4) as u32 }),
            4 => ops.push(FrameOp::Task { task: noise.below(4000) as u32 }),
            5 => {
                // A block of its own, split at once into pieces of order 1.
                let (slot, order) = (slots.take(), 2 + noise.below(3) as u8);
                let mobility = Mobility::Movable;
                ops.push(FrameOp::Allocate {
                    slot,
                    order,
                    mobility,
                    zeroed: false,
                    movable: true,
                    accounted: true,
                });
                ops.push(FrameOp::Split { slot, order: 1 });
                for _ in 1..1 << (order - 1) {
                    ops.push(FrameOp::Piece { slot: slots.take() });
                }
            }
            _ => ops.push(FrameOp::Allocate {
                slot: slots.take(),
                order: noise.below(11) as u8,
                mobility: [Mobility::Unmovable, Mobility::Reclaimable][noise.below(2) as usize],
                zeroed: noise.below(2) == 0,
                movable: noise.below(2) == 0,
                accounted: noise.below(2) == 0,
            }),
        }
    }
    ops
}

fn object_ops(seed: u64, count: usize) -> (Vec<Cache>, Vec<ObjectOp>) {
    let (mut noise, mut slots, mut ops) = (Noise(seed), Slots::default(), Vec::new());
    let mut caches: Vec<Cache> = Vec::new();
    while ops.len() < count {
        match noise.below(8) {
            0..3 if !slots.live.is_empty() => ops.push(ObjectOp::Free { slot: slots.give(&mut noise) }),
            3 => ops.push(ObjectOp::Cpu { cpu: noise.below(4) as u32 }),
            4 => ops.push(ObjectOp::Task { task: noise.below(4000) as u32 }),
            _ if caches.is_empty() || noise.below(10) == 0 => {
                let cache = caches.len() as u32;
                let id = 7 * u64::from(cache);
                caches.push(Cache { id, object_size: 1 + noise.below(9000), name: format!("cache-{id}-é") });
                ops.push(ObjectOp::Cache { cache });
            }
            _ => {
                let cache = noise.below(caches.len() as u64) as u32;
                ops.push(ObjectOp::Allocate {
                    slot: slots.take(),
                    cache,
                    size: noise.below(caches[cache as usize].object_size + 1),
                    zeroed: noise.below(2) == 0,
                });
            }
        }
    }
    (caches, ops)
}

const ROUNDS: u64 = if cfg!(miri) { 3 } else { 300 };

#[test]
fn what_was_written_reads_equal() {
    for seed in 1..ROUNDS {
        let count = (seed % 200) as usize;
        let heap = HeapTrace::from_ops("heap – é", seed % 2 == 0, heap_ops(seed, count)).unwrap();
        assert_eq!(HeapTrace::read(&heap.encode()).unwrap(), heap);
        let frames = FrameTrace::from_ops("", seed % 2 == 0, frame_ops(seed, count)).unwrap();
        assert_eq!(FrameTrace::read(&frames.encode()).unwrap(), frames);
        let (caches, ops) = object_ops(seed, count);
        let objects = ObjectTrace::from_ops("objects", false, caches, ops).unwrap();
        assert_eq!(ObjectTrace::read(&objects.encode()).unwrap(), objects);
    }
}

/// Damages `good` in every way of one truncation, one bit or one byte, and asks that `read` refuses it, with an offset
/// inside the file. Excepted are bytes whose damage makes another valid file: those of the name, and flag bit 0.
fn damage(good: &[u8], name_length: usize, read: impl Fn(&[u8]) -> Result<(), TraceError>) {
    read(good).unwrap();
    for length in 0..good.len() {
        let error = read(&good[..length]).expect_err("truncated");
        assert!(error.offset().unwrap() <= length as u64, "{error}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    read(&longer).expect_err("a byte too many");
    for at in (0..good.len()).filter(|at| !(72..72 + name_length).contains(at)) {
        let bits = (0..8).map(|bit| good[at] ^ (1 << bit));
        for byte in bits.chain([0, 0xff, 0x80, 0x7f, good[at].wrapping_add(1)]) {
            if byte == good[at] || (at == 6 && byte <= 1) {
                continue;
            }
            let mut bad = good.to_vec();
            bad[at] = byte;
            let error = read(&bad).expect_err("damaged");
            assert!(error.offset().unwrap() <= good.len() as u64, "{error}");
        }
    }
    for at in 72..72 + name_length {
        let mut bad = good.to_vec();
        bad[at] = 0xff;
        assert_eq!(read(&bad).unwrap_err().problem(), Some(Problem::NotUtf8));
    }
}

const SMALL: usize = if cfg!(miri) { 4 } else { 40 };

#[test]
fn damaged_heap_traces_are_refused() {
    let trace = HeapTrace::from_ops("name", false, heap_ops(5, SMALL)).unwrap();
    damage(&trace.encode(), 4, |bytes| HeapTrace::read(bytes).map(drop));
}

#[test]
fn damaged_frame_traces_are_refused() {
    let trace = FrameTrace::from_ops("name", false, frame_ops(5, SMALL)).unwrap();
    damage(&trace.encode(), 4, |bytes| FrameTrace::read(bytes).map(drop));
}

#[test]
fn damaged_object_traces_are_refused() {
    let (caches, ops) = object_ops(5, SMALL);
    let trace = ObjectTrace::from_ops("name", false, caches, ops).unwrap();
    damage(&trace.encode(), 4, |bytes| ObjectTrace::read(bytes).map(drop));
}

/// Behind a right checksum anything may stand: no panic, and no memory that the bytes do not justify.
#[test]
fn noise_behind_a_right_checksum_is_refused_in_peace() {
    let mut noise = Noise(99);
    let mut accepted = 0;
    for _ in 0..ROUNDS * 20 {
        let ops: Vec<u8> = (0..noise.below(24)).map(|_| (noise.below(256) >> noise.below(9)) as u8).collect();
        for magic in [b"HTRC", b"FTRC", b"KTRC"] {
            let mut file = magic.to_vec();
            file.extend([1, 0, 0, 0, 72, 0, 0, 0]);
            file.extend(crc32fast::hash(&ops).to_le_bytes());
            file.extend([0xff; 8]);
            file.extend((ops.len() as u64).to_le_bytes());
            file.extend([0xff; 40]);
            file.extend(&ops);
            let results = [
                HeapTrace::read(&file).is_ok(),
                FrameTrace::read(&file).is_ok(),
                ObjectTrace::read(&file).is_ok(),
            ];
            accepted += results.iter().filter(|ok| **ok).count();
        }
    }
    assert_eq!(accepted, 0, "no file whose header claims 2^64 − 1 operations is right");
}

/// One broken rule each: the problem and the byte must be named.
#[test]
fn each_broken_rule_is_named() {
    let refused =
        |ops: &[HeapOp]| HeapTrace::from_ops("", false, ops.to_vec()).unwrap_err().problem().unwrap();
    let allocate = |slot, size, align_log2| HeapOp::Allocate { slot, size, align_log2, zeroed: false };
    assert_eq!(refused(&[HeapOp::Free { slot: 0 }]), Problem::Slot { slot: 0, used: 0 });
    assert_eq!(refused(&[allocate(1, 1, 4)]), Problem::Slot { slot: 1, used: 0 });
    assert_eq!(refused(&[allocate(0, 1, 4), allocate(0, 1, 4)]), Problem::Occupied { slot: 0 });
    let twice = [allocate(0, 1, 4), HeapOp::Free { slot: 0 }, HeapOp::Free { slot: 0 }];
    assert_eq!(refused(&twice), Problem::NotLive { slot: 0 });
    assert_eq!(refused(&[allocate(0, 1, 63)]), Problem::Range { field: "alignment", found: 63 });
    assert!(matches!(refused(&[allocate(0, 1 << 63, 4)]), Problem::Range { field: "size", .. }));
    let most = (1 << 63) - 16;
    assert_eq!(refused(&[allocate(0, most, 4), allocate(1, most, 4), allocate(2, most, 4)]), Problem::Sum);
    assert!(matches!(
        refused(&[allocate(0, 1, 4), HeapOp::Reallocate { slot: 0, size: 0 }]),
        Problem::Range { field: "new size", .. }
    ));
    let thread = HeapOp::Thread { thread: u32::MAX };
    assert!(matches!(refused(&[thread]), Problem::Range { field: "thread", .. }));

    let mut trace = HeapTrace::from_ops("n", false, vec![allocate(0, 1, 4)]).unwrap();
    trace.header.slots = 9;
    let error = HeapTrace::read(&trace.encode()).unwrap_err();
    assert_eq!(error.problem(), Some(Problem::Figure { field: "slots", stated: 9, found: 1 }));
    assert_eq!(error.offset(), Some(32));
    trace.header.slots = 1;
    trace.ops.push(HeapOp::Free { slot: 3 });
    let error = HeapTrace::read(&trace.encode()).unwrap_err();
    assert_eq!((error.offset(), error.problem()), (Some(76), Some(Problem::Slot { slot: 3, used: 1 })));
    assert_eq!(error.to_string(), "byte 76: slot 3 is out of range: 1 are in use");
}

/// The slot's layout stays checked through a resize: alignment 2^62 leaves no room for 2^62 + 1 bytes.
#[test]
fn a_resize_keeps_the_alignment_in_mind() {
    let allocate = HeapOp::Allocate { slot: 0, size: 1, align_log2: 62, zeroed: false };
    let ops = |size| vec![allocate, HeapOp::Reallocate { slot: 0, size }];
    assert!(HeapTrace::from_ops("", false, ops(1 << 62)).is_ok());
    assert!(HeapTrace::from_ops("", false, ops((1 << 62) + 1)).is_err());
}

#[test]
fn a_split_block_needs_its_pieces() {
    let block = FrameOp::Allocate {
        slot: 0,
        order: 1,
        mobility: Mobility::Movable,
        zeroed: false,
        movable: true,
        accounted: false,
    };
    let refused =
        |ops: &[FrameOp]| FrameTrace::from_ops("", false, ops.to_vec()).unwrap_err().problem().unwrap();
    let split = FrameOp::Split { slot: 0, order: 0 };
    let piece = FrameOp::Piece { slot: 1 };
    let trace = FrameTrace::from_ops("", false, vec![block, split, piece]).unwrap();
    assert_eq!((trace.header.ops, trace.header.slots, trace.header.end_bytes), (2, 2, 2));
    assert_eq!(refused(&[block, split]), Problem::Pieces);
    assert_eq!(refused(&[block, piece]), Problem::Pieces);
    assert_eq!(refused(&[block, split, FrameOp::Free { slot: 0 }]), Problem::Pieces);
    assert!(matches!(refused(&[block, FrameOp::Split { slot: 0, order: 1 }]), Problem::Range { .. }));
}

/// One record of each kind.
const VM: &str = "VMTRC 1
name a small one – é
page 4096
procs 3
records 16
X 0 shell
I 0 400000 402000 r-xp - 0 /bin/a shell
I 0 7ff000 800000 rw-p d 0 [stack]
m 0 10000 3000 3 22 -1 0
p 0 11000 1000 1
f 0 10010 w
F 0 1
k 1 10010 w+
b 1 900123 910001
r 1 10000 1000 2000 1 20000
a 1 20000 1000 e
u 1 20000 1000
X 2 child
g 1 7fe000
Z 1 400000 402000 r-xs /bin/a shell
E 1
";

#[test]
fn a_text_trace_reads_and_writes() {
    let trace = VmTrace::read(VM.as_bytes()).unwrap();
    assert_eq!((trace.processes, trace.page, trace.ops.len()), (3, 4096, 16));
    assert!(matches!(trace.ops[6].action, Action::Fork { child: 1 }));
    assert_eq!(trace.encode(), VM.as_bytes());
    assert_eq!(VmTrace::from_ops(&trace.name, 4096, trace.ops.clone()).unwrap(), trace);
}

/// A truncated text is refused at every length, a changed one read as what it says or refused: never a panic, and what
/// reads, writes and reads equal.
#[test]
fn damaged_text_traces_are_refused() {
    for length in 0..VM.len() {
        let error = VmTrace::read(&VM.as_bytes()[..length]).expect_err("truncated");
        assert!(error.offset().unwrap() <= length as u64, "{error}");
    }
    let mut refused = 0;
    for at in 0..if cfg!(miri) { 40 } else { VM.len() } {
        for byte in 0..=u8::MAX {
            let mut bad = VM.as_bytes().to_vec();
            bad[at] = byte;
            match VmTrace::read(&bad) {
                Ok(trace) => assert_eq!(VmTrace::read(&trace.encode()).unwrap(), trace),
                Err(error) => {
                    assert!(error.offset().unwrap() <= VM.len() as u64, "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 200 * if cfg!(miri) { 20 } else { VM.len() } / 2);
}

#[test]
fn each_broken_rule_of_a_text_is_named() {
    let refused = |from: &str, to: &str| {
        assert_eq!(VM.matches(from).count(), 1, "{from}");
        let error = VmTrace::read(VM.replace(from, to).as_bytes()).unwrap_err();
        let at = VM.find(from).unwrap() as u64;
        (error.offset().unwrap() as i64 - at as i64, error.problem().unwrap())
    };
    assert_eq!(refused("VMTRC 1", "VMTRK 1"), (0, Problem::Magic { expected: "VMTRC" }));
    assert_eq!(refused("VMTRC 1", "VMTRC 2"), (6, Problem::Version { found: 2 }));
    assert_eq!(refused("procs 3", "procs 4").1, Problem::Figure { field: "procs", stated: 4, found: 3 });
    assert_eq!(refused("records 16", "records 15").0, 8);
    assert_eq!(refused("F 0 1", "F 0 2"), (0, Problem::Process { process: 2 }));
    assert_eq!(refused("k 1 10010 w+", "k 2 10010 w+"), (0, Problem::Process { process: 2 }));
    assert_eq!(refused("E 1", "Q 1"), (0, Problem::Expected { field: "record" }));
    assert_eq!(refused("f 0 10010 w\n", "f 0 10010 y\n"), (10, Problem::Expected { field: "kind of fault" }));
    assert_eq!(
        refused("u 1 20000 1000", "u 1 20000 1001"),
        (0, Problem::Range { field: "length", found: 0x1001 })
    );
    assert_eq!(refused("u 1 20000 1000", "u 1 20000 0"), (0, Problem::Range { field: "length", found: 0 }));
    assert_eq!(refused("g 1 7fe000", "g 1 7fe000 1"), (11, Problem::Expected { field: "end of line" }));
    assert_eq!(refused("g 1 7fe000", "g 1 +7fe000"), (4, Problem::Expected { field: "start" }));
    assert_eq!(refused("E 1\n", "E 1\nE 1\n"), (4, Problem::Process { process: 1 }));
}

/// A stored zstd frame (RFC 8878, 3.1.1): magic, descriptor (single segment, 1-byte size), size, one raw last block.
fn zstd_frame(content: &[u8]) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap();
    let block = (u32::from(size) << 3) | 1;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, size];
    frame.extend(&block.to_le_bytes()[..3]);
    frame.extend(content);
    frame
}

#[test]
fn compressed_data_is_known_by_its_content() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut two = zstd_frame(b"one ");
    two.extend(zstd_frame(b"two"));
    for (name, content, expected) in
        [("plain.zst", b"plain".to_vec(), "plain"), ("packed", two.clone(), "one two")]
    {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        assert_eq!(load(&path).unwrap(), expected.as_bytes());
    }
    for length in 1..two.len() {
        let cut = decompress(&two[..length]);
        if length == zstd_frame(b"one ").len() {
            assert_eq!(cut.unwrap(), b"one ");
        } else {
            assert!(matches!(cut, Err(TraceError::Zstd { .. })), "{length} bytes");
        }
    }
    two.extend(b"junk");
    assert_eq!(decompress(&two).unwrap_err().offset(), Some(7));
    assert!(matches!(load(&directory.join("absent")), Err(TraceError::Io(_))));
}

/// The traces of one kind that may lie beside the workspace, in `shared/traces` of a folder above it.
fn shipped(kind: &str) -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = workspace.ancestors().skip(1).map(|above| above.join("shared/traces").join(kind));
    match folders.find_map(|folder| folder.read_dir().ok()) {
        Some(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        None => {
            println!("SKIPPED: no recorded traces: no folder above the workspace has shared/traces/{kind}");
            Vec::new()
        }
    }
}

#[test]
fn shipped_traces_read_and_write() {
    for path in shipped("heap") {
        let trace = HeapTrace::read(&load(&path).unwrap()).unwrap();
        assert_eq!(HeapTrace::read(&trace.encode()).unwrap(), trace);
    }
    for path in shipped("frames") {
        let trace = FrameTrace::read(&load(&path).unwrap()).unwrap();
        assert_eq!(FrameTrace::read(&trace.encode()).unwrap(), trace);
    }
    for path in shipped("objects") {
        let trace = ObjectTrace::read(&load(&path).unwrap()).unwrap();
        assert_eq!(ObjectTrace::read(&trace.encode()).unwrap(), trace);
    }
    for path in shipped("vm") {
        let bytes = load(&path).unwrap();
        let trace = VmTrace::read(&bytes).unwrap();
        assert!(trace.encode() == bytes, "{}", path.display());
    }
}
