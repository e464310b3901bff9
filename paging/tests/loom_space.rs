//! Whole address spaces under loom: programs that walk the tables, write, and fault, on two CPUs at once.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-paging --test loom_space`. Two levels of two entries;
//! a frame is two words, which hold entries or what a program wrote.
//!
//! ```text
//!   program on CPU n ── holds CPU n ──► walk the tables, read or write a word of the page
//!         │ no such entry                                    ▲
//!         └──► lock the space, handle_fault, unlock, again   │ waits until CPU n is between two accesses
//!                                └──► flush ─────────────────┘
//! ```
//! An access is a walk and then the word, as a CPU with a translation at hand makes it, so it may use an entry that is gone
//! until the flush. Each frame has a cell that whoever reaches it reads and whoever takes or frees it writes: a page that is
//! given up too early is reported as a race. Every model names the planted fault that it must catch.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use core::num::NonZero;
use core::ptr::NonNull;
use std::sync::Arc;

use hectare_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hectare_core::{
    Access, AllocError, CheckInvariants, Frame, FrameRequest, FrameRun, FreeError, Page, PageRun, PageSize,
    Permissions, PhysAddr, PhysWindow, SharedFrameSource, VirtAddr,
};
use hectare_paging::format::{Decoded, Format, Toy};
use hectare_paging::space::index::Node;
use hectare_paging::space::{
    AddressSpace, HugePages, Kernel, MapRequest, NoPager, Place, RefTable, Settings,
};
use hectare_paging::table::{Invalidation, Tlb};
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::thread;

type F = Toy<2, 1, 0>;
type Space = AddressSpace<F, Cpus>;

/// The first frame, and how many there are: twice a root, a table and a page, and one more.
const BASE: u64 = 0x100;
const FRAMES: usize = 7;
const PAGE: u64 = 1;

struct Cells {
    words: [AtomicU64; 2],
    used: UnsafeCell<()>,
}

/// Frames, what they hold, which are free, how many users they have; and CPUs, held while they access memory.
struct Machine {
    cells: [Cells; FRAMES],
    free: Mutex<u32>,
    counts: Vec<AtomicU32>,
    cpus: [Mutex<()>; 2],
}

// SAFETY: loom's cells report unordered accesses.
unsafe impl Sync for Machine {}
// SAFETY: as above.
unsafe impl Send for Machine {}

/// What the spaces of a model have in common. Its flushes reach both CPUs.
#[derive(Clone, Copy)]
struct Cpus(&'static Machine, RefTable<'static>);

/// The window.
struct View(&'static Machine);

// SAFETY: the words of a frame, always the same; loom's atomics stand for entries and for bytes.
unsafe impl PhysWindow for View {
    fn pointer(&self, address: PhysAddr, _length: u64) -> Option<NonNull<u8>> {
        Some(NonNull::from(&self.0.cells(address.value() >> 12)?.words).cast())
    }
}

impl Machine {
    fn new() -> Cpus {
        let cells = core::array::from_fn(|_| Cells {
            words: [AtomicU64::new(0), AtomicU64::new(0)],
            used: UnsafeCell::new(()),
        });
        let free = Mutex::new((1 << FRAMES) - 1);
        let counts = (0..FRAMES).map(|_| AtomicU32::new(0)).collect();
        let machine = Self { cells, free, counts, cpus: [Mutex::new(()), Mutex::new(())] };
        let machine = Box::leak(Box::new(machine));
        Cpus(machine, RefTable::new(Frame::new(BASE), &machine.counts))
    }

    /// The words of a frame, which is somebody's.
    fn cells(&self, frame: u64) -> Option<&Cells> {
        let cells = self.cells.get(usize::try_from(frame.checked_sub(BASE)?).ok()?)?;
        cells.used.with(|_| ());
        Some(cells)
    }

    /// An access of a program: what it reads, or read before it wrote. `None`: a fault.
    fn access(&self, cpu: usize, root: PhysAddr, cell: usize, write: Option<u64>) -> Option<u64> {
        let _held = self.cpus[cpu].lock().unwrap();
        let mut table = root.value();
        for level in [1, 0] {
            let index = usize::try_from(PAGE).unwrap() >> level & 1;
            let entry = self.cells(table >> 12)?.words[index].load(Ordering::Acquire);
            match F::decode(entry, level, index) {
                Decoded::Table { address } => table = address.value(),
                Decoded::Leaf { address, attributes, .. } => {
                    let right = if write.is_some() { Permissions::WRITE } else { Permissions::READ };
                    if !attributes.permissions.contains(right) {
                        return None;
                    }
                    let word = &self.cells(address.value() >> 12)?.words[cell];
                    let before = word.load(Ordering::Relaxed);
                    write.into_iter().for_each(|value| word.store(value, Ordering::Relaxed));
                    return Some(before);
                }
                _ => return None,
            }
        }
        None
    }
}

// SAFETY: the bits of free frames change under a lock; loom's cells report it where a frame is not whoever's took it.
unsafe impl SharedFrameSource for Machine {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        assert_eq!(request.count.get(), 1);
        let mut free = self.free.lock().unwrap();
        let nth = free.trailing_zeros();
        let cells = self.cells.get(nth as usize).ok_or(AllocError::OutOfMemory)?;
        *free &= *free - 1;
        cells.used.with_mut(|_| ());
        Ok(FrameRun::new(Frame::new(BASE + u64::from(nth)), 1).unwrap())
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        let nth = usize::try_from(run.first().number() - BASE).unwrap();
        let mut free = self.free.lock().unwrap();
        assert_eq!(*free & 1 << nth, 0, "freed twice");
        self.cells[nth].used.with_mut(|_| ());
        *free |= 1 << nth;
        Ok(())
    }
}

// SAFETY: a CPU keeps no translation from one access to the next, and one that is under way ends before this returns.
unsafe impl Tlb for Cpus {
    fn invalidate(&self, _what: &Invalidation<'_>) {
        self.0.cpus.iter().for_each(|cpu| drop(cpu.lock().unwrap()));
    }
}

impl Kernel for Cpus {
    type Frames = &'static Machine;
    type Window = View;
    type Nodes = [Node; 2];
    type Refs = RefTable<'static>;
    type Pager = NoPager;
    type Tlb = Self;

    fn frames(&self) -> &'static Machine {
        self.0
    }

    fn window(&self) -> View {
        View(self.0)
    }

    fn nodes(&self) -> [Node; 2] {
        [Node::EMPTY; 2]
    }

    fn refs(&self) -> &RefTable<'static> {
        &self.1
    }

    fn pager(&self) -> &NoPager {
        &NoPager
    }

    fn tlb(&self) -> &Self {
        self
    }
}

/// A program's memory: the space behind its lock, as its documentation says, and the root that CPUs have.
struct Process {
    machine: &'static Machine,
    root: PhysAddr,
    space: Mutex<Space>,
}

impl Process {
    fn of(space: Space) -> Arc<Self> {
        let (machine, root) = (space.kernel().0, space.table().root());
        Arc::new(Self { machine, root, space: Mutex::new(space) })
    }

    /// With one page, which may be written to.
    fn new() -> Arc<Self> {
        let window = PageRun::new(Page::new(0), 4).unwrap();
        let settings = Settings { huge: HugePages::Never, ..Settings::new(window) };
        let mut space = Space::new(Machine::new(), settings).unwrap();
        let rights = Permissions::READ | Permissions::WRITE;
        let request = MapRequest::anonymous(NonZero::<u64>::MIN, rights).at(Place::Fixed(Page::new(PAGE)));
        space.map(request).unwrap();
        Self::of(space)
    }

    fn fork(&self) -> Arc<Self> {
        Self::of(self.space.lock().unwrap().fork().unwrap())
    }

    /// Accesses a word of the page on a CPU: what was there.
    fn access(&self, cpu: usize, cell: usize, write: Option<u64>) -> u64 {
        let kind = if write.is_some() { Access::user_write() } else { Access::user_read() };
        loop {
            match self.machine.access(cpu, self.root, cell, write) {
                Some(before) => return before,
                None => {
                    let mut space = self.space.lock().unwrap();
                    space.handle_fault(VirtAddr::new(PAGE << 12), kind).unwrap();
                }
            }
        }
    }

    fn write(&self, cpu: usize, cell: usize, value: u64) -> u64 {
        self.access(cpu, cell, Some(value))
    }

    fn words(&self) -> [u64; 2] {
        [0, 1].map(|cell| self.access(0, cell, None))
    }

    /// How many pages were copied and taken over.
    fn counts(&self) -> (u64, u64) {
        let counts = self.space.lock().unwrap().counts();
        (counts.copied, counts.reused)
    }

    fn exit(self: Arc<Self>) {
        let process = Arc::into_inner(self).unwrap();
        let space = process.space.into_inner().unwrap();
        space.check_invariants().unwrap();
        space.destroy();
    }
}

/// Every frame is back, and counted by nobody.
fn all_back(machine: &Machine) {
    assert_eq!(*machine.free.lock().unwrap(), (1 << FRAMES) - 1, "frames are left");
    assert!(machine.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0));
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let executions = std::sync::atomic::AtomicUsize::new(0);
    let executions: &'static _ = Box::leak(Box::new(executions));
    builder.check(move || {
        executions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    println!("{executions:?} executions");
}

/// `space_fault_blind`
#[test]
fn a_two_cpus_write_to_a_page_that_nobody_used() {
    check(|| {
        let process = Process::new();
        let other = Arc::clone(&process);
        let machine = process.machine;
        let second = thread::spawn(move || other.write(1, 1, 22));
        assert_eq!((process.write(0, 0, 11), second.join().unwrap()), (0, 0));
        assert_eq!(process.words(), [11, 22], "one page, with both writes");
        process.exit();
        all_back(machine);
    });
}

/// `space_cow_reuse`
#[test]
fn b_parent_and_child_write_to_a_page_at_once() {
    check(|| {
        let parent = Process::new();
        let machine = parent.machine;
        parent.write(0, 0, 7);
        let child = parent.fork();
        let other = Arc::clone(&child);
        let second = thread::spawn(move || (other.write(1, 0, 22), other.access(1, 1, None)));
        assert_eq!(parent.write(0, 0, 11), 7, "what it was at the fork");
        assert_eq!(second.join().unwrap(), (7, 0));
        assert_eq!((parent.words(), child.words()), ([11, 0], [22, 0]));
        let ((copied, reused), (more, taken)) = (parent.counts(), child.counts());
        assert!(matches!((copied + more, reused + taken), (1, 1) | (2, 0)), "one kept the page, or it went");
        child.exit();
        parent.exit();
        all_back(machine);
    });
}

/// `space_fault_blind`
#[test]
fn c_two_cpus_of_one_space_write_to_a_page_that_another_space_shares() {
    check(|| {
        let parent = Process::new();
        let machine = parent.machine;
        parent.write(0, 0, 7);
        let child = parent.fork();
        let other = Arc::clone(&child);
        let second = thread::spawn(move || other.write(1, 1, 22));
        assert_eq!((child.write(0, 0, 11), second.join().unwrap()), (7, 0));
        assert_eq!((child.words(), child.counts()), ([11, 22], (1, 0)), "copied once");
        assert_eq!(parent.words(), [7, 0]);
        child.exit();
        parent.exit();
        all_back(machine);
    });
}

/// `space_fork_writable`
#[test]
fn d_a_write_meets_the_end_of_the_other_process() {
    check(|| {
        let parent = Process::new();
        let machine = parent.machine;
        parent.write(0, 0, 7);
        let child = parent.fork();
        let second = thread::spawn(move || {
            assert_eq!(child.access(1, 0, None), 7, "what it was at the fork");
            child.exit();
        });
        assert_eq!(parent.write(0, 0, 11), 7);
        second.join().unwrap();
        assert_eq!(parent.words(), [11, 0]);
        let (copied, reused) = parent.counts();
        assert_eq!(copied + reused, 1, "copied, or taken over by the last");
        parent.exit();
        all_back(machine);
    });
}

/// `space_cow_early`
#[test]
fn e_a_page_is_copied_while_another_cpu_reads_it_and_its_last_user_ends() {
    check(|| {
        let parent = Process::new();
        let machine = parent.machine;
        parent.write(0, 0, 7);
        let child = parent.fork();
        let reader = Arc::clone(&parent);
        let read = thread::spawn(move || reader.access(1, 0, None));
        let end = thread::spawn(move || child.exit());
        assert_eq!(parent.write(0, 0, 11), 7);
        assert!(matches!(read.join().unwrap(), 7 | 11));
        end.join().unwrap();
        assert_eq!(parent.words(), [11, 0]);
        parent.exit();
        all_back(machine);
    });
}
