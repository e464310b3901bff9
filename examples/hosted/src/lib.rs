//! The tour: a machine is brought up the way an operating system does it, on simulated memory, and put away again.
//!
//! ```text
//!   1  the firmware's map        ─► banks of frames          machine.rs
//!   2  banks                     ─► zones of a buddy system  machine.rs
//!   3  frames                    ─► slabs, objects, a heap   objects.rs
//!   4  a block of frames         ─► segments, compaction     contiguous.rs
//!   5  frames                    ─► page tables              tables.rs
//!   6  tables, areas, segments   ─► processes                kernel.rs, processes.rs
//!   7  processes                 ─► fork, copy-on-write      processes.rs
//! ```
//! Each stage prints what a Linux machine shows under `/proc`, and ends with the frames that it began with; the last line
//! says that every frame is back.
#![deny(unsafe_code)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "no length here exceeds the 64 MiB of the simulated memory"
)]

extern crate alloc;

mod contiguous;
mod kernel;
mod machine;
mod objects;
mod processes;
mod tables;

use core::fmt::Write;

use hectare::{FrameRequest, Locked, Order, Permissions, SharedFrameSource};
use machine::{Frames, Ram, ZonedFrames, buddyinfo, memory_map};

/// Why the tour ended early.
pub type Failure = alloc::boxed::Box<dyn core::error::Error>;

const USER_TEXT: Permissions = Permissions::READ.union(Permissions::EXECUTE).union(Permissions::USER);
const USER_DATA: Permissions = Permissions::READ.union(Permissions::WRITE).union(Permissions::USER);

/// Brings the machine up and puts it away. What it did is added to `out`.
///
/// # Errors
/// The first thing that did not go as it must.
pub fn tour(out: &mut String) -> Result<(), Failure> {
    writeln!(out, "== 1. The firmware's memory map")?;
    for (entry, what) in memory_map() {
        let start = entry.start.value();
        writeln!(out, "[mem {start:#010x}-{:#010x}] {what}", start + (entry.length - 1))?;
    }

    writeln!(out, "\n== 2. Page frames: /proc/buddyinfo")?;
    let ram = Ram::new();
    let mut tables = [[None; 8]; 2];
    let frames: Frames<'_> = Locked::new(ZonedFrames::new(&ram, &mut tables)?);
    let at_boot = free_frames(&frames)?;
    machine::stage(out, &frames)?;

    writeln!(out, "\n== 3. Objects: /proc/slabinfo")?;
    let (tasks, heap) = objects::caches(&frames, ram.window());
    objects::stage(out, &tasks, &heap)?;

    writeln!(out, "\n== 4. Programs in one piece of memory each")?;
    contiguous::stage(out, &frames, ram.window())?;

    writeln!(out, "\n== 5. Page tables")?;
    tables::stage(out, &frames, ram.window())?;

    writeln!(out, "\n== 6. Two processes: /proc/PID/maps")?;
    let os = kernel::Os::new(&frames, &heap, ram.window())?;
    processes::stage(out, &os, &frames, &tasks, &heap)?;
    os.shut_down()?;

    writeln!(out, "\n== 8. Everything is given back")?;
    if cfg!(hectare_plant = "tour_leak") {
        frames.allocate_frames(FrameRequest::order(Order::ZERO))?;
    }
    drop(heap);
    drop(tasks);
    buddyinfo(out, &frames)?;
    frames.with(|frames| frames.check())??;
    let at_end = free_frames(&frames)?;
    writeln!(out, "{at_end} of {at_boot} frames are free again")?;
    check(at_end == at_boot, "frames are missing")
}

fn free_frames(frames: &Frames<'_>) -> Result<u64, Failure> {
    Ok(frames.with(|frames| frames.free_frames())?)
}

/// An assertion that a caller can print.
fn check(holds: bool, what: &'static str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(what.into()) }
}
