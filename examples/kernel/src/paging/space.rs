//! Programs in address spaces: every page comes by a real fault, forks share until somebody writes.
//!
//! ```text
//!   run_user ─► fault ─► AddressSpace::handle_fault ─► run_user again ─► call
//!   0         the kernel, in every space: the half that its table pinned
//!   USER      code, then pages that the program has
//! ```
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt::Write;
use core::num::NonZero;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hectare_core::{
    Access, AllocError, ByteAllocator, Frame, FreeError, Locked, Page, PageRun, PhysAddr, Privilege, VirtAddr,
};
use hectare_paging::space::index::HeapNodes;
use hectare_paging::space::{
    AddressSpace, Kernel, MapRequest, NoPager, Place, RefTable, Settings, SpaceFault,
};

use super::{Ending, Fault, KERNEL_DATA, KERNEL_TEXT, Table, Users};
use crate::arch::{self, Console, UserCode};
use crate::check::Checks;
use crate::cpus::{self, CPUS, Lock};
use crate::memory::{Direct, FRAME, FRAMES, Frames, HEAP};
use crate::random::Random;

/// Pages of a program, behind its code.
const PAGES: u64 = 32;
const CODE: u64 = arch::USER;
const DATA: u64 = arch::USER + 0x20_0000;

/// The heap as a byte allocator.
#[derive(Clone, Copy, Debug)]
pub struct Blocks;

// SAFETY: all promises are the heap's.
unsafe impl ByteAllocator for Blocks {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        HEAP.allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { HEAP.free(block, layout) }
    }
}

/// What address spaces need of this kernel.
pub struct Machine {
    refs: RefTable<'static>,
}

impl Kernel for Machine {
    type Frames = &'static Frames;
    type Window = Direct;
    type Nodes = HeapNodes<Blocks>;
    type Refs = RefTable<'static>;
    type Pager = NoPager;
    type Tlb = Users;

    fn frames(&self) -> &'static Frames {
        &FRAMES
    }

    fn window(&self) -> Direct {
        Direct
    }

    fn nodes(&self) -> HeapNodes<Blocks> {
        HeapNodes::new(Blocks)
    }

    fn refs(&self) -> &RefTable<'static> {
        &self.refs
    }

    fn pager(&self) -> &NoPager {
        &NoPager
    }

    fn tlb(&self) -> &Users {
        &Users
    }
}

type Space = AddressSpace<arch::Format, &'static Machine>;

/// A program: its address space, with the kernel in it.
struct Program {
    space: Space,
}

impl Program {
    /// With code, and pages that are not there yet.
    fn load(machine: &'static Machine, kernel: &Table) -> Self {
        let window = PageRun::new(Page::new(CODE >> FRAME.log2()), 1 << 16).expect("pages");
        let mut program = Self { space: Space::new(machine, Settings::new(window)).expect("a root") };
        program.space.share_kernel(kernel).expect("nothing is there yet");
        let area = |pages, permissions, at: u64| {
            let count = NonZero::new(pages).expect("pages");
            MapRequest::anonymous(count, permissions).at(Place::Fixed(Page::new(at >> FRAME.log2())))
        };
        program.space.map(area(1, KERNEL_DATA, CODE)).expect("room");
        program.space.map(area(PAGES, KERNEL_DATA, DATA)).expect("room");
        program.enter();
        // The kernel writes the code where the program will find it; the fault of its first word brings the page.
        let code = arch::user_code();
        for offset in (0..512_u64).step_by(8) {
            let from: *const u64 = core::ptr::with_exposed_provenance((code.start + offset) as usize);
            // SAFETY: the page of programs in the kernel's image.
            let word = unsafe { from.read() };
            while let Err(fault) = arch::probe_write(CODE + offset, word) {
                program.resolve(fault).expect("memory for the code");
            }
        }
        program.space.protect(Page::new(CODE >> FRAME.log2()), 1, KERNEL_TEXT).expect("its area");
        program
    }

    /// This CPU translates by its tables.
    fn enter(&self) {
        // SAFETY: the kernel is in them.
        unsafe { arch::load_root(self.space.table().root().value()) };
    }

    fn resolve(&mut self, fault: Fault) -> Result<(), SpaceFault> {
        let access = Access { kind: fault.kind, privilege: Privilege::User };
        self.space.handle_fault(VirtAddr::new(fault.address), access).map(|_| ())
    }

    /// Runs until it calls. What the space refuses ends it.
    fn run(&mut self, entry: u64, first: u64, second: u64) -> Result<u64, SpaceFault> {
        loop {
            // SAFETY: the program reaches its own pages.
            match unsafe { arch::run_user(entry, first, second) } {
                Ending::Call(result) => return Ok(result),
                Ending::Fault(fault) => self.resolve(fault)?,
            }
        }
    }

    fn read(&mut self, address: u64) -> Result<u64, SpaceFault> {
        let UserCode { start, read, .. } = arch::user_code();
        self.run(CODE + (read - start), address, 0)
    }

    fn write(&mut self, address: u64, value: u64) -> Result<u64, SpaceFault> {
        let UserCode { start, write, .. } = arch::user_code();
        self.run(CODE + (write - start), address, value)
    }

    fn fork(&mut self) -> Self {
        Self { space: self.space.fork().expect("memory for a fork") }
    }

    /// The CPU must be in other tables.
    fn exit(self) {
        self.space.destroy();
    }
}

/// The address of a word in page `page`.
const fn word(page: u64) -> u64 {
    DATA + page * FRAME.bytes() + 24
}

/// Runs while one CPU is up; `table` is the kernel's.
pub fn stage(checks: &mut Checks, table: &mut Table) {
    let counts: Vec<AtomicU32> = (0..arch::FRAMES).map(|_| AtomicU32::new(0)).collect();
    let counts = Box::leak(counts.into_boxed_slice());
    let words: *mut [AtomicU32] = counts;
    let refs = RefTable::new(Frame::new(arch::MEMORY_START >> FRAME.log2()), counts);
    let machine = Box::leak(Box::new(Machine { refs }));
    let machine_again: *mut Machine = machine;
    let machine: &'static Machine = machine;
    table.pin(super::pages(0, arch::KERNEL_END >> FRAME.log2())).expect("room for its tables").finish(&Users);
    let kernel = table.root();
    // SAFETY: the kernel's tables show the kernel.
    let leave = || unsafe { arch::load_root(kernel.value()) };

    let mut parent = Program::load(machine, table);
    let resident = parent.space.resident();
    checks.that(parent.read(word(3)) == Ok(0), "what was never touched reads as zeros");
    checks.that(parent.write(word(4), 44) == Ok(44), "a first write brings a page");
    checks.that(parent.read(word(4)) == Ok(44), "which keeps it");
    checks.that(parent.space.resident() == resident + 2, "two pages came, no more");
    checks.that(parent.write(CODE, 1).is_err(), "a program does not write to its code");
    checks.that(parent.read(DATA + PAGES * FRAME.bytes()).is_err(), "nor read behind its pages");
    checks.that(parent.read(arch::MEMORY_START + 0x1000).is_err(), "nor the kernel");

    let mut child = parent.fork();
    child.enter();
    checks.that(child.read(word(4)) == Ok(44), "a fork has the parent's memory");
    checks.that(child.write(word(4), 45) == Ok(45), "and may write");
    parent.enter();
    checks.that(parent.read(word(4)) == Ok(44), "which the parent does not see");
    checks.that(parent.write(word(4), 46) == Ok(46), "the last user writes in place");
    checks.that(parent.space.counts().reused == 1, "without a copy");
    leave();
    child.exit();
    random(checks, &mut parent, kernel);
    together(checks, parent, kernel);
    // SAFETY: the programs are gone.
    let token = unsafe { table.unpin() };
    table.finish(token, &Users).expect("its own token");
    // SAFETY: leaked above; no address space is left.
    drop(unsafe { Box::from_raw(machine_again) });
    // SAFETY: the same.
    drop(unsafe { Box::from_raw(words) });
}

/// Random reads, writes and forks of three programs beside a model.
fn random(checks: &mut Checks, parent: &mut Program, kernel: PhysAddr) {
    parent.enter();
    let mut model = [[0_u64; PAGES as usize]; 3];
    for (page, value) in (0..PAGES).zip(&mut model[0]) {
        *value = parent.write(word(page), page + 1).unwrap_or(0);
    }
    let mut programs = [parent.fork(), parent.fork(), parent.fork()];
    model = [model[0]; 3];
    let mut random = Random::new(77);
    let (mut operations, mut wrong) = (0_u64, 0_u64);
    for round in 0..300_u64 {
        let who = random.below(3) as usize;
        programs[who].enter();
        for _ in 0..8 {
            let page = random.below(PAGES);
            let expected = &mut model[who][page as usize];
            let found = if random.below(2) == 0 {
                *expected = round << 8 | page;
                programs[who].write(word(page), *expected)
            } else {
                programs[who].read(word(page))
            };
            operations += 1;
            wrong += u64::from(found != Ok(*expected));
        }
        if random.below(10) == 0 {
            let other = random.below(3) as usize;
            if other != who {
                let fork = programs[who].fork();
                core::mem::replace(&mut programs[other], fork).exit();
                model[other] = model[who];
            }
        }
    }
    // SAFETY: the kernel's tables show the kernel.
    unsafe { arch::load_root(kernel.value()) };
    programs.into_iter().for_each(Program::exit);
    let _ = writeln!(Console, "programs: {operations} accesses of three, {wrong} wrong");
    checks.that(wrong == 0, "programs read what they wrote");
}

static PROGRAMS: [Locked<Lock, Option<Program>>; CPUS] = [const { Locked::new(None) }; CPUS];
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

/// One program on each CPU, forks of one parent: all copy the same pages at once.
fn together(checks: &mut Checks, mut parent: Program, kernel: PhysAddr) {
    KERNEL_ROOT.store(kernel.value(), Ordering::Relaxed);
    for place in &PROGRAMS {
        let fork = parent.fork();
        let _ = place.with(|place| *place = Some(fork));
    }
    cpus::on_all(|cpu| {
        let Some(mut program) = PROGRAMS[cpu].with(Option::take).ok().flatten() else { return };
        program.enter();
        for round in 0..4 {
            for page in 0..PAGES {
                let expected = if round == 0 { page + 1 } else { page << 8 | cpu as u64 };
                if program.read(word(page)) != Ok(expected)
                    || program.write(word(page), page << 8 | cpu as u64).is_err()
                {
                    WRONG.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        FAULTS.fetch_add(program.space.counts().faults, Ordering::Relaxed);
        // SAFETY: the kernel's tables show the kernel.
        unsafe { arch::load_root(KERNEL_ROOT.load(Ordering::Relaxed)) };
        program.exit();
    });
    parent.exit();
    let (faults, wrong) = (FAULTS.load(Ordering::Relaxed), WRONG.load(Ordering::Relaxed));
    let _ = writeln!(Console, "fork on {CPUS} CPUs: {faults} faults, {wrong} wrong");
    checks.that(wrong == 0, "programs on all CPUs are apart");
    checks.that(faults >= PAGES * CPUS as u64 - CPUS as u64 * 4, "each CPU copied its pages");
}
