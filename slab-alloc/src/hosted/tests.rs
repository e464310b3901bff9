//! The heap on a stand-in for the operating system, so that Miri sees every access.

#![allow(
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "tests"
)]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::alloc::Layout;
use std::boxed::Box;
use std::sync::{Barrier, Mutex};
use std::vec::Vec;

use super::*;
use crate::size_class::{CLASSES, size_of_class};

mod large;
mod threads;

/// Memory of the test's own allocator; a clock that the test turns.
#[derive(Debug, Default)]
struct StandIn {
    regions: Mutex<Vec<Mapped>>,
    clock: AtomicU64,
    decommitted: AtomicU64,
}

#[derive(Debug)]
struct Mapped {
    start: NonNull<u8>,
    layout: Layout,
    first_index: usize,
    gone: usize,
}

// SAFETY: the memory is shared as the heap does.
unsafe impl Send for Mapped {}

/// Granules that the table has words for.
const WORDS: usize = 4096;

impl Mapped {
    fn first(&self) -> usize {
        self.start.as_ptr().addr()
    }
}

impl StandIn {
    fn with_region<R>(&self, address: usize, f: impl FnOnce(&mut Mapped) -> R) -> Option<R> {
        let mut regions = self.regions.lock().unwrap();
        let region = regions
            .iter_mut()
            .find(|r| r.gone < r.layout.size() && address.wrapping_sub(r.first()) < r.layout.size());
        region.map(f)
    }

    fn mapped(&self) -> usize {
        self.regions.lock().unwrap().iter().map(|r| r.layout.size() - r.gone).sum()
    }
}

// SAFETY: memory of the global allocator, kept until it is unmapped; an index for each granule of each region, from 1 on.
unsafe impl system::System for StandIn {
    const MERGES: bool = false;

    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: not empty.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        let mut regions = self.regions.lock().unwrap();
        let first_index =
            regions.last().map_or(1, |r: &Mapped| r.first_index + r.layout.size() / span::GRANULE + 1);
        assert!(first_index + bytes / span::GRANULE < WORDS, "a longer table is needed");
        regions.push(Mapped { start, layout, first_index, gone: 0 });
        Some(start)
    }

    unsafe fn unmap(&self, base: NonNull<u8>, bytes: usize) {
        let free = self.with_region(base.as_ptr().addr(), |region| {
            region.gone += bytes;
            (region.gone == region.layout.size()).then_some((region.start, region.layout))
        });
        if let Some((start, layout)) = free.expect("unmapped memory was mapped") {
            // SAFETY: allocated in `map` with this layout; all parts are given up.
            unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        }
    }

    unsafe fn decommit(&self, base: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: nobody uses the contents (caller).
        unsafe { base.write_bytes(0, bytes) };
        self.decommitted.fetch_add(bytes as u64, Ordering::Relaxed);
        true
    }

    unsafe fn remap(&self, base: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        let moved = self.map(new, 4096)?;
        // SAFETY: both are mapped, disjoint, and that long.
        unsafe { moved.copy_from_nonoverlapping(base, old.min(new)) };
        // SAFETY: the caller gives the old place up.
        unsafe { self.unmap(base, old) };
        Some(moved)
    }

    fn table(&self) -> Option<NonNull<AtomicU32>> {
        let table: Vec<AtomicU32> = (0..WORDS).map(|_| AtomicU32::new(0)).collect();
        Some(NonNull::from(table.leak()).cast())
    }

    fn index(&self, address: usize) -> usize {
        self.with_region(address, |r| r.first_index + (address - r.first()) / span::GRANULE).unwrap_or(0)
    }

    fn has_index(&self, _address: usize) -> bool {
        true
    }

    fn millis(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn pause(&self) {
        std::thread::yield_now();
    }

    fn secret(&self) -> usize {
        0x1234_5678
    }

    fn misused(&self, how: &'static str) -> ! {
        panic!("misused: {how}")
    }
}

type Test = Process<StandIn>;

/// The processes of all tests: what they keep at the end is kept, not lost.
static PROCESSES: Mutex<Vec<&'static Test>> = Mutex::new(Vec::new());

fn process() -> &'static Test {
    let process: &'static Test = Box::leak(Box::new(Process::new(StandIn::default())));
    PROCESSES.lock().unwrap().push(process);
    process
}

/// As `allocate`, of this heap.
fn allocate(process: &Test, heap: &'static Heap, size: usize) -> NonNull<u8> {
    let layout = core::alloc::Layout::from_size_align(size.max(16), 16).unwrap();
    let Some(class) = crate::size_class::class_of_layout(layout) else {
        return process.allocate_large(size, 16).unwrap().0;
    };
    // SAFETY: a class's offset.
    let object = unsafe { heap.pop(class * BIN) }.or_else(|| heap.refill(process, class)).unwrap();
    if HARDENED {
        // SAFETY: a free object of at least 16 bytes.
        unsafe { heap::mark_place(object.address()).write(0) };
    }
    object.address()
}

/// As `free`, by the thread of this heap.
fn free(process: &Test, heap: &'static Heap, block: NonNull<u8>) {
    // SAFETY: a block.
    let word = unsafe { process.map.word(&process.system, block.as_ptr().addr()) };
    match Entry::of(word) {
        Entry::Nothing => panic!("a block that is nobody's"),
        Entry::Small { class, .. } => {
            // SAFETY: a live block, given up.
            let object = unsafe { Free::new(block) };
            heap::marked(&object);
            if heap.offset_of(word) >= BINS {
                heap.send(process, word, object);
            // SAFETY: the class's offset.
            } else if let Err(object) = unsafe { heap.push(class * BIN, object) } {
                heap.overflow(process, class, object);
            }
        }
        // SAFETY: a live block, given up.
        entry => unsafe { process.free_large(block, entry) },
    }
}

fn live(process: &Test) -> (usize, usize) {
    process.with_pool(|pool| pool.live(&process.map, &process.system))
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize * end) >> 32
    }
}

/// A block, filled with a byte of its own.
struct Block {
    at: NonNull<u8>,
    size: usize,
    byte: u8,
}

impl Block {
    fn new(at: NonNull<u8>, size: usize, byte: u8) -> Self {
        assert_eq!(at.as_ptr().addr() % 16, 0);
        // SAFETY: live, of that size.
        unsafe { at.write_bytes(byte, size) };
        Self { at, size, byte }
    }

    fn check(&self) {
        // SAFETY: live, of that size, and written.
        let bytes = unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.size) };
        // All of it is read; Miri, which sees any write to it, looks at a few.
        let step = if cfg!(miri) { self.size / 16 + 1 } else { 1 };
        assert!(
            bytes.iter().step_by(step).all(|byte| *byte == self.byte),
            "a block of {} bytes was changed",
            self.size
        );
    }
}

const STEPS: usize = if cfg!(miri) { 150 } else { 60_000 };

#[test]
fn blocks_keep_their_contents_and_everything_comes_back() {
    let process = process();
    let heap = process.enter().unwrap();
    let (mut random, mut blocks) = (Random(0x1234_5678_9abc_def1), Vec::<Block>::new());
    for step in 0..STEPS {
        if blocks.is_empty() || random.below(5) < 3 {
            let most = [64, 600, 4000, 40_000][random.below(4)];
            let size = random.below(most) + 1;
            blocks.push(Block::new(allocate(process, heap, size), size, step as u8));
        } else {
            let block = blocks.swap_remove(random.below(blocks.len()));
            block.check();
            free(process, heap, block.at);
        }
        process.system.clock.store(step as u64 / 16, Ordering::Relaxed);
    }
    heap.flush_all(process);
    assert_eq!(live(process).0, blocks.len());
    blocks.drain(..).for_each(|block| {
        block.check();
        free(process, heap, block.at);
    });
    heap.flush_all(process);
    assert_eq!(live(process), (0, 0));
    assert_eq!(process.bytes()[0], 0, "every span went back to the pool");
}

#[test]
fn what_others_free_comes_back_to_the_owner() {
    let process = process();
    let (ours, theirs) = (process.enter().unwrap(), process.enter().unwrap());
    let count = if cfg!(miri) { 70 } else { 5000 };
    for _ in 0..3 {
        let blocks: Vec<_> = (0..count).map(|i| allocate(process, ours, 16 + i % 400)).collect();
        let held = process.bytes()[0];
        blocks.iter().for_each(|block| free(process, theirs, *block));
        theirs.flush_all(process);
        assert!(ours.mail.inbox.has_mail() && process.bytes()[0] == held);
        ours.flush_all(process);
        assert_eq!((live(process), process.bytes()[0]), ((0, 0), 0));
    }
}

#[test]
fn an_owner_that_went_away_is_replaced_and_its_spans_are_adopted() {
    let process = process();
    let (first, second) = (process.enter().unwrap(), process.enter().unwrap());
    let blocks: Vec<_> = (0..300).map(|_| allocate(process, first, 48)).collect();
    blocks.iter().step_by(2).for_each(|block| free(process, first, *block));
    process.leave(first);
    // The second takes what the first left free before it asks for more.
    let granules = process.bytes()[0];
    let more: Vec<_> = (0..150).map(|_| allocate(process, second, 48)).collect();
    assert_eq!(process.bytes()[0], granules, "the first one's spans are used");
    // What is left is the second's now; mail to the first is looked after by who sends it.
    let third = process.enter().unwrap();
    assert!(core::ptr::eq(third, first), "a heap that was left is used again");
    for block in blocks.iter().skip(1).step_by(2).chain(&more) {
        free(process, third, *block);
    }
    process.leave(third);
    process.leave(second);
    let last = process.enter().unwrap();
    last.flush_all(process);
    assert_eq!((live(process), process.bytes()[0]), ((0, 0), 0));
}

#[test]
fn mail_for_nobody_is_looked_after_by_its_sender() {
    let process = process();
    let (first, second) = (process.enter().unwrap(), process.enter().unwrap());
    let blocks: Vec<_> = (0..500).map(|_| allocate(process, first, 100)).collect();
    process.leave(first);
    blocks.iter().for_each(|block| free(process, second, *block));
    second.flush_all(process);
    assert_eq!((live(process), process.bytes()[0]), ((0, 0), 0), "nobody had to come back for it");
}

#[test]
fn what_is_free_in_caches_serves_again_before_the_heap_grows() {
    let process = process();
    let heap = process.enter().unwrap();
    let step = if cfg!(miri) { 12 } else { 1 };
    // A little of each class, all of it free again, in bins and spares; no time goes by.
    for size in (1..CLASSES).step_by(step).map(size_of_class) {
        let blocks: Vec<_> = (0..20_000 / size + 1).map(|_| allocate(process, heap, size)).collect();
        blocks.iter().for_each(|block| free(process, heap, *block));
    }
    // Of one class as much as all of that was, and half as much again.
    let spans: usize = (1..CLASSES).step_by(step).map(span::granules_of).sum();
    let blocks: Vec<_> = (0..spans * 3 / 2 * 4).map(|_| allocate(process, heap, 16_384)).collect();
    let in_use = process.bytes()[0] / span::GRANULE;
    assert!(
        in_use <= blocks.len() / 4 + blocks.len() / 32 + 24,
        "{in_use} granules for {}",
        blocks.len() / 4
    );
    blocks.iter().for_each(|block| free(process, heap, *block));
    heap.flush_all(process);
    assert_eq!((live(process), process.bytes()[0]), ((0, 0), 0));
}

#[test]
fn idle_caches_and_free_spans_go_back_with_time() {
    let process = process();
    let heap = process.enter().unwrap();
    let turn = |millis| process.system.clock.fetch_add(millis, Ordering::Relaxed);
    let (count, others) = if cfg!(miri) { (200, 60) } else { (20_000, 200) };
    let blocks: Vec<_> = (0..count).map(|_| allocate(process, heap, 256)).collect();
    blocks.iter().for_each(|block| free(process, heap, *block));
    // Further activity of another class, of the kind that takes slow paths.
    for _ in 0..6 {
        turn(200);
        let other: Vec<_> = (0..others).map(|_| allocate(process, heap, 2048)).collect();
        other.iter().for_each(|block| free(process, heap, *block));
    }
    heap.flush_all(process);
    // Less what the other class has taken, and what the last two ticks have not yet seen.
    let free = ((count * 256) as u64 / 65536).saturating_sub(12);
    assert!(process.system.decommitted.load(Ordering::Relaxed) / 65536 >= free, "memory went back");
    assert_eq!(live(process), (0, 0));
}
