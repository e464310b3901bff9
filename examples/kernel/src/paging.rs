//! Page tables, live in the MMU: the kernel's own, and what is tried with them.
//!
//! ```text
//!   kernel      all memory at its own address, by huge pages; text may be executed, nothing else; devices apart
//!   0x10_…      what the stages map, for the kernel or for programs
//! ```
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use hectare_core::{
    AccessKind, CheckInvariants, Frame, FrameRequest, FrameRun, Order, Page, PageRun, Permissions, PhysAddr,
    PhysWindow, SharedFrameSource,
};
use hectare_paging::table::{Invalidation, Live};
use hectare_paging::{Attributes, MapOptions, MemoryType, PageTable, Tlb, Touched};

use crate::arch::{self, Console};
use crate::check::Checks;
use crate::cpus;
use crate::memory::{Direct, FRAME, FRAMES, Frames};

pub mod model;
pub mod shootdown;
pub mod space;

/// The kernel's tables.
pub type Table = PageTable<arch::Format, Live<Direct, Users>, &'static Frames>;

/// The first address of what the stages map: within the reach of all formats, and no memory's own address.
pub const STAGE: u64 = 0x10_0000_0000;

pub const KERNEL_DATA: Permissions = Permissions::READ.union(Permissions::WRITE);
pub const KERNEL_TEXT: Permissions = Permissions::READ.union(Permissions::EXECUTE);
/// Neither the hardware nor we have anything left to set.
pub const MAPPED: MapOptions = MapOptions::DEFAULT.with_touched(Touched { accessed: true, dirty: true });

/// An access that the MMU refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub address: u64,
    pub kind: AccessKind,
}

/// How a program's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called the kernel, with this result.
    Call(u64),
    /// It touched what it must not, or what is not there yet.
    Fault(Fault),
}

/// The CPUs that use the kernel's tables: the first one alone, then all. The two planted faults forget to tell all of
/// them, or the others.
#[derive(Clone, Copy, Debug)]
pub struct Users;

/// Whether more than one CPU uses the tables.
static SHARED: AtomicBool = AtomicBool::new(false);

// SAFETY: `here` and `everywhere` return when the CPUs that use the tables have dropped the range, and order the stores
// before.
unsafe impl Tlb for Users {
    fn invalidate(&self, what: &Invalidation<'_>) {
        let drop_range = |start, end| {
            let shared = SHARED.load(Ordering::Acquire) && cfg!(not(hectare_plant = "kernel_local_flush"));
            if cfg!(hectare_plant = "kernel_no_flush") {
            } else if shared {
                arch::flush::everywhere(start, end);
            } else {
                arch::flush::here(start, end);
            }
        };
        // Single pages leave the upper levels of other addresses cached, on two of the three machines.
        if what.everything || what.tables {
            return drop_range(0, arch::REACH);
        }
        for span in what.spans {
            drop_range(span.first().value(), span.last().value() + 1);
        }
    }
}

/// So many pages from an address on.
pub fn pages(start: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(start >> FRAME.log2()), count).expect("pages")
}

fn frames(start: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(start >> FRAME.log2()), count).expect("frames")
}

/// Memory at its own address, text apart, and the devices. Nothing is loaded yet.
pub fn kernel_table() -> Table {
    let mut table = Table::new(Live::new(Direct, Users), &FRAMES).expect("a frame for the root");
    let mut map = |(start, end): (u64, u64), attributes| {
        let count = (end - start) >> FRAME.log2();
        let first = Page::new(start >> FRAME.log2());
        table
            .map(first, frames(start, count), attributes, MAPPED)
            .expect("room for the kernel's map")
            .later();
    };
    map(arch::MEMORY, Attributes::new(KERNEL_DATA));
    for device in arch::DEVICES {
        map(device, Attributes::new(KERNEL_DATA).with_memory(MemoryType::DeviceStrict));
    }
    let (start, end) = arch::text();
    let text = pages(start, (end - start) >> FRAME.log2());
    let token = table.protect(text, KERNEL_TEXT).expect("room to split huge pages");
    // SAFETY: no CPU was pointed to the table.
    table.finish(token, &unsafe { hectare_paging::table::NotLoaded::new() }).expect("its own token");
    table
}

/// The MMU of one CPU uses the kernel's tables, then those of all CPUs.
pub fn stages(checks: &mut Checks) {
    let mut table = kernel_table();
    let _ = writeln!(Console, "paging: {} tables for the kernel", table.tables());
    // SAFETY: the table shows the kernel, its stacks and its devices where they are.
    unsafe { arch::load_root(table.root().value()) };
    small_and_huge(checks, &mut table);
    isolation(checks, &mut table);
    model::stage(checks, &mut table);
    space::stage(checks, &mut table);

    SHARED.store(true, Ordering::Release);
    // SAFETY: as above.
    cpus::on_all_with(table.root().value(), |root| unsafe { arch::load_root(root) });
    let table = shootdown::stage(checks, table);
    checks.that(table.check_invariants().is_ok(), "the tables are sound");
    // SAFETY: the tables of the start show the kernel too.
    cpus::on_all_with(0, |_| unsafe { arch::leave_root() });
    SHARED.store(false, Ordering::Release);
    table.destroy(&Users);
}

/// Frames that are zeroed and ours.
pub fn take(order: u8) -> FrameRun {
    let order = Order::new(order).expect("a small order");
    let run = FRAMES.allocate_frames(FrameRequest::order(order)).expect("memory");
    for frame in run.iter() {
        // SAFETY: the frame was just taken.
        unsafe { window(frame).write_bytes(0, 512) };
    }
    run
}

pub fn give(run: FrameRun) {
    // SAFETY: the stages give what they took, when no page shows it any more.
    unsafe { FRAMES.free_frames(run) }.expect("taken before");
}

/// The frame's words, at its own address.
pub fn window(frame: Frame) -> *mut u64 {
    let start = frame.start(FRAME).unwrap_or(PhysAddr::new(0));
    Direct.pointer(start, FRAME.bytes()).expect("memory").cast().as_ptr()
}

/// Maps, or says no.
pub fn map(table: &mut Table, address: u64, run: FrameRun, permissions: Permissions) {
    let first = Page::new(address >> FRAME.log2());
    table.map(first, run, Attributes::new(permissions), MAPPED).expect("room").finish(&Users);
}

/// Takes a mapping out of all CPUs' sight.
pub fn unmap(table: &mut Table, address: u64, count: u64) {
    let token = table.unmap(pages(address, count), |_| {}).expect("room to split");
    table.finish(token, &Users).expect("its own token");
}

/// The same memory through a base page and through a huge one.
fn small_and_huge(checks: &mut Checks, table: &mut Table) {
    let (small, huge) = (take(0), take(9));
    map(table, STAGE, small, KERNEL_DATA);
    map(table, STAGE + (2 << 20), huge, KERNEL_DATA);
    let before = table.tables();
    for (at, run) in [(STAGE, small), (STAGE + (2 << 20), huge)] {
        for (number, frame) in (0..).zip(run.iter()) {
            let address = at + number * FRAME.bytes();
            checks.that(arch::probe_write(address + 8, number + 7).is_ok(), "a mapped page can be written");
            // SAFETY: ours.
            let direct = unsafe { window(frame).add(1).read_volatile() };
            checks.that(direct == number + 7, "what is written through a page is in its frame");
        }
    }
    // A part of the huge page is protected: it is split, and the neighbours keep their rights.
    let middle = STAGE + (2 << 20) + 100 * FRAME.bytes();
    let token = table.protect(pages(middle, 1), Permissions::READ).expect("room to split");
    table.finish(token, &Users).expect("its own token");
    checks.that(table.tables() == before + 1, "splitting a huge page takes one table");
    let refused = Fault { address: middle, kind: AccessKind::Write };
    checks.that(arch::probe_write(middle, 1) == Err(refused), "a write to the protected page faults");
    checks.that(arch::probe_read(middle + 8) == Ok(107), "it can still be read");
    checks.that(arch::probe_write(middle + FRAME.bytes(), 1).is_ok(), "its neighbour can be written");
    unmap(table, STAGE, 1);
    unmap(table, STAGE + (2 << 20), 512);
    let absent = Fault { address: STAGE, kind: AccessKind::Read };
    checks.that(arch::probe_read(STAGE) == Err(absent), "an unmapped page faults");
    give(small);
    give(huge);
}

/// Programs touch only what is theirs.
fn isolation(checks: &mut Checks, table: &mut Table) {
    let user = Permissions::USER;
    // A planted fault: the kernel's page is the program's too.
    let kernel_page =
        if cfg!(hectare_plant = "kernel_wrong_right") { KERNEL_DATA | user } else { KERNEL_DATA };
    let code = arch::user_code();
    let text = frames(code.start, 1);
    let runs = [take(0), take(0), take(0)];
    map(table, STAGE, text, KERNEL_TEXT | user);
    map(table, STAGE + 0x1000, runs[0], KERNEL_DATA | user);
    map(table, STAGE + 0x2000, runs[1], Permissions::READ | user);
    map(table, STAGE + 0x3000, runs[2], kernel_page);
    let [read, write] = [code.read, code.write].map(|at| STAGE + (at - code.start));
    // SAFETY: a program reaches its own pages only.
    let run = |at, first, second| unsafe { arch::run_user(at, first, second) };
    let fault = |address, kind| Ending::Fault(Fault { address, kind });
    let (reads, writes) = (AccessKind::Read, AccessKind::Write);
    checks.that(run(write, STAGE + 0x1010, 77) == Ending::Call(77), "a program writes to its page");
    checks.that(run(read, STAGE + 0x1010, 0) == Ending::Call(77), "and reads it");
    checks.that(run(read, STAGE + 0x2000, 0) == Ending::Call(0), "a program reads a page it may read");
    checks.that(run(write, STAGE + 0x2000, 1) == fault(STAGE + 0x2000, writes), "but does not write to it");
    checks.that(run(write, STAGE, 1) == fault(STAGE, writes), "nor to its code");
    checks.that(
        run(read, STAGE + 0x3000, 0) == fault(STAGE + 0x3000, reads),
        "a program does not read the kernel's page",
    );
    checks.that(run(write, STAGE + 0x3008, 0) == fault(STAGE + 0x3008, writes), "nor write to it");
    checks.that(run(read, code.start, 0) == fault(code.start, reads), "nor read the kernel's image");
    checks.that(run(read, STAGE + 0x5000, 0) == fault(STAGE + 0x5000, reads), "nor what is not there");
    checks.that(
        run(STAGE + 0x1000, 0, 0) == fault(STAGE + 0x1000, AccessKind::Execute),
        "data is not executed",
    );
    unmap(table, STAGE, 4);
    runs.into_iter().for_each(give);
}
