//! Programs without paging: each segment is one piece of memory, found through a table of bases and lengths.
//!
//! ```text
//!   ├ A text 1 MiB ┼ A data 0.5 ┼── B data 1.25 MiB ──┼ C 0.5 ┼── free 0.75 ──┤     4 MiB, one buddy block
//!   ├ A text 1 MiB ┼ A data 0.5 ┼──── free 1.25 ──────┼ C 0.5 ┼── free 0.75 ──┤     B exits: 1.5 MiB do not fit
//!   ├ A text 1 MiB ┼ A data 0.5 ┼ C 0.5 ┼──────────── free 2.0 ───────────────┤     C slides down
//! ```
#![expect(unsafe_code, reason = "moves and clears bytes of the simulated memory")]

use core::fmt::Write;
use core::num::NonZero;

use hectare::fit::policy::FirstFit;
use hectare::fit::range::{RangeAllocator, Vecs};
use hectare::segmentation::{Goal, Memory, NewSegment, ProcessId, SegmentNumber, SpaceError, Spaces};
use hectare::{
    Access, CheckInvariants, DirectMap, Extent, Figures, FrameRequest, Order, Permissions, PhysAddr,
    PhysWindow, RangeRequest, SharedFrameSource,
};

use crate::machine::{FRAME, Frames};
use crate::{Failure, USER_DATA, USER_TEXT, check};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Moves and clears bytes through the kernel's window.
struct Mover(DirectMap);

impl Memory for Mover {
    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let place = |address| self.0.pointer(PhysAddr::new(address), bytes).expect("segments lie in memory");
        // SAFETY: (1) the window shows both; (2) the stage below owns the block that has both; (3) `copy` may overlap.
        unsafe { place(from).copy_to(place(to), bytes as usize) };
    }

    fn zero(&mut self, place: Extent) {
        let start = self.0.pointer(PhysAddr::new(place.start()), place.length());
        // SAFETY: (1) the window shows all of it; (2) the stage below owns the block that has it.
        unsafe { start.expect("segments lie in memory").write_bytes(0, place.length() as usize) };
    }
}

type Programs = Spaces<RangeAllocator<FirstFit, u64, Vecs<u64>>, 4, 4, 8>;

/// Starts a program with these segments, or not at all.
fn load(
    programs: &mut Programs,
    mover: &mut Mover,
    segments: &[(u64, Permissions)],
) -> Result<ProcessId, SpaceError> {
    let process = programs.spawn()?;
    for &(length, permissions) in segments {
        let length = NonZero::new(length).unwrap_or(NonZero::<u64>::MIN);
        if let Err(error) = programs.create(process, NewSegment::up(length, permissions), mover) {
            programs.exit(process)?;
            return Err(error);
        }
    }
    Ok(process)
}

/// Three programs in one block of 4 MiB: one exits, another does not fit, compaction makes it fit.
pub(crate) fn stage(out: &mut String, frames: &Frames<'_>, window: DirectMap) -> Result<(), Failure> {
    let order = Order::holding(4 * MIB / FRAME.bytes()).ok_or("an order")?;
    let block = frames.allocate_frames(FrameRequest::order(order))?;
    let base = block.first().start(FRAME).ok_or("an address")?.value();
    let mut programs = Programs::new(RangeAllocator::over(base..base + 4 * MIB, Vecs::new())?);
    let mover = &mut Mover(window);
    let a = load(&mut programs, mover, &[(MIB, USER_TEXT), (512 * KIB, USER_DATA)])?;
    let b = load(&mut programs, mover, &[(1280 * KIB, USER_DATA)])?;
    let c = load(&mut programs, mover, &[(512 * KIB, USER_DATA)])?;
    show(out, &programs, &[("A", a), ("B", b), ("C", c)])?;

    let byte = |programs: &Programs, process, number, offset, access| {
        let place = programs.translate(process, SegmentNumber::new(number), offset, 1, access);
        Ok::<_, Failure>(place.ok_or("no such process")?)
    };
    let place = byte(&programs, c, 0, 0x1234, Access::user_write())??;
    let pointer = window.pointer(PhysAddr::new(place.value()), 1).ok_or("outside the window")?;
    // SAFETY: the window shows the block, which is ours.
    unsafe { pointer.write(0xC5) };
    for (what, number, offset, access) in [
        ("A writes to its text", 0, 0, Access::user_write()),
        ("A reads past its data", 1, 512 * KIB, Access::user_read()),
        ("A reads a third segment", 2, 0, Access::user_read()),
    ] {
        let fault = byte(&programs, a, number, offset, access)?.err().ok_or("a fault was expected")?;
        writeln!(out, "{what}: {fault}")?;
    }

    programs.exit(b)?;
    let wanted = NonZero::new(3 * MIB / 2).ok_or("not zero")?;
    let refused = load(&mut programs, mover, &[(wanted.get(), USER_DATA)]).err().ok_or("it must not fit")?;
    let usage = programs.source().usage();
    writeln!(out, "B exits. D wants 1.5 MiB of the {} KiB that are free: {refused}", usage.free / KIB)?;
    let goal = Goal::Fit(RangeRequest { length: wanted, align: NonZero::<u64>::MIN });
    let done = programs.compact(base, goal, u64::MAX, mover)?;
    writeln!(out, "compaction moves {} KiB", done.moved / KIB)?;
    let d = load(&mut programs, mover, &[(wanted.get(), USER_DATA)])?;
    show(out, &programs, &[("A", a), ("C", c), ("D", d)])?;

    let place = byte(&programs, c, 0, 0x1234, Access::user_read())??;
    let pointer = window.pointer(PhysAddr::new(place.value()), 1).ok_or("outside the window")?;
    // SAFETY: as above.
    let found = unsafe { pointer.read() };
    writeln!(out, "C reads {found:#x} at (0, 0x1234), now at {place}")?;
    check(found == 0xC5, "compaction lost a byte")?;
    for process in [a, c, d] {
        programs.exit(process)?;
    }
    programs.check_invariants()?;
    // SAFETY: the block was taken above, and no program is left in it.
    unsafe { frames.free_frames(block) }?;
    Ok(())
}

/// The segments of some programs, as maps of memory are printed.
fn show(out: &mut String, programs: &Programs, shown: &[(&str, ProcessId)]) -> core::fmt::Result {
    for &(name, process) in shown {
        for (number, segment) in programs.table(process).into_iter().flat_map(|table| table.iter()) {
            let start = segment.start().value();
            let (end, rights) = (start + segment.length(), segment.permissions());
            writeln!(out, "{start:08x}-{end:08x} {rights} {name}, segment {number}")?;
        }
    }
    Ok(())
}
