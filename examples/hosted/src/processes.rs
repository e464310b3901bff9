//! Two processes with segments over pages: demand paging, isolation, copy-on-write fork, exit.
//!
//! ```text
//!   (segment, offset) ─► segment table ─► linear address ─► page table ─► frame
//!                             │ fault: the program is told      │ fault: handle_fault, then again
//! ```
#![expect(unsafe_code, reason = "is the CPU: touches the frames that translation gives")]

use core::fmt::Write;
use core::num::NonZero;

use hectare::paging::space::maps::Label;
use hectare::paging::space::{AddressSpace, Area, AreaFlags, Backing, MapRequest, Place, Settings};
use hectare::segmentation::{Segment, SegmentNumber, Slot, Table};
use hectare::{Access, Page, PageRun, PhysWindow, Translate, VirtAddr};

use crate::kernel::{INIT, Os};
use crate::machine::{FRAME, Frames, buddyinfo};
use crate::objects::{KernelHeap, Task, Tasks, show};
use crate::tables::Format;
use crate::{Failure, USER_DATA, USER_TEXT, check, free_frames};

const TEXT: SegmentNumber = SegmentNumber::new(0);
const DATA: SegmentNumber = SegmentNumber::new(1);
const HEAP: SegmentNumber = SegmentNumber::new(2);
const STACK: SegmentNumber = SegmentNumber::new(3);

type Space<'o, 'k, 'f, 'm> = AddressSpace<Format, &'o Os<'k, 'f, 'm>>;

struct Process<'o, 'k, 'f, 'm> {
    name: &'static str,
    segments: Table<[Slot; 4]>,
    space: Space<'o, 'k, 'f, 'm>,
}

impl<'o, 'k, 'f, 'm> Process<'o, 'k, 'f, 'm> {
    /// The program `/bin/init`: text and data from the file, a heap, a stack. Nothing is in memory yet.
    fn exec(name: &'static str, os: &'o Os<'k, 'f, 'm>) -> Result<Self, Failure> {
        let window = PageRun::new(Page::new(0x10), 0x8_0000_0000 - 0x10 - 1).ok_or("pages")?;
        let mut space = AddressSpace::new(os, Settings::new(window))?;
        let id = INIT.ok_or("a file")?;
        let at = |address: u64| Place::Fixed(VirtAddr::new(address).split(FRAME).0);
        let new = |pages, permissions| {
            MapRequest::anonymous(NonZero::new(pages).unwrap_or(NonZero::<u64>::MIN), permissions)
        };
        space.map(new(4, USER_TEXT).at(at(0x40_0000)).over(Backing::Object { id, offset: 0 }))?;
        space.map(new(1, USER_DATA).at(at(0x60_0000)).over(Backing::Object { id, offset: 4 }))?;
        space.set_heap(VirtAddr::new(0x60_1000));
        space.brk(VirtAddr::new(0x60_5000))?;
        space.map(new(2, USER_DATA).at(at(0x7fff_ffff_d000)).with(AreaFlags::GROWS_DOWN))?;

        let mut segments = Table::<[Slot; 4]>::EMPTY;
        let up = |start, length, rights| Segment::up(VirtAddr::new(start), length, rights);
        segments.insert(up(0x40_0000, 0x4000, USER_TEXT)?)?;
        segments.insert(up(0x60_0000, 0x1000, USER_DATA)?)?;
        segments.insert(up(0x60_1000, 0x4000, USER_DATA)?)?;
        // The stack may grow: its segment is larger than its area.
        segments.insert(up(0x7fff_fff0_0000, 0xf_f000, USER_DATA)?)?;
        Ok(Self { name, segments, space })
    }

    /// One access as the CPU makes it. Faults are told to `out`.
    fn access(
        &mut self,
        out: &mut String,
        segment: SegmentNumber,
        offset: u64,
        write: Option<u8>,
    ) -> Result<u8, Failure> {
        let access = if write.is_some() { Access::user_write() } else { Access::user_read() };
        let linear = self.segments.translate(segment, offset, 1, access)?;
        let found = loop {
            match self.space.table().translate(linear, access) {
                Ok(found) => break found,
                Err(_) => {
                    let handled = self.space.handle_fault(linear, access)?;
                    writeln!(out, "{}: {access} at {linear}: {handled:?}", self.name)?;
                }
            }
        };
        let byte = self.space.kernel().window.pointer(found.address, 1).ok_or("outside the window")?;
        if let Some(value) = write {
            // SAFETY: translation says that this process may write there.
            unsafe { byte.write(value) };
        }
        // SAFETY: translation says that this process may read there.
        Ok(unsafe { byte.read() })
    }

    /// An access that must be refused.
    fn refused(
        &mut self,
        out: &mut String,
        segment: SegmentNumber,
        offset: u64,
        write: bool,
    ) -> Result<(), Failure> {
        let refusal = self.access(&mut String::new(), segment, offset, write.then_some(0)).err();
        writeln!(out, "{}: {}", self.name, refusal.ok_or("a fault was expected")?)?;
        Ok(())
    }

    fn maps(&self, out: &mut String) -> core::fmt::Result {
        writeln!(out, "/proc/{}/maps, {} pages resident:", self.name, self.space.resident())?;
        let label = |area: &Area| match area.backing() {
            Backing::Object { .. } => Label { device: (8, 1), inode: 42, name: "/bin/init" },
            _ if area.flags().contains(AreaFlags::HEAP) => Label::special("[heap]"),
            _ if area.flags().contains(AreaFlags::GROWS_DOWN) => Label::special("[stack]"),
            _ => Label::default(),
        };
        write!(out, "{}", self.space.maps(label))
    }
}

/// Two processes of one program.
pub(crate) fn stage(
    out: &mut String,
    os: &Os<'_, '_, '_>,
    frames: &Frames<'_>,
    tasks: &Tasks<'_, '_>,
    heap: &KernelHeap<'_, '_>,
) -> Result<(), Failure> {
    let running = [named(tasks, 1, "init")?, named(tasks, 2, "getty")?];
    let mut init = Process::exec("init", os)?;
    let mut getty = Process::exec("getty", os)?;
    init.maps(out)?;
    check(init.access(out, TEXT, 0x1234, None)? == 0x11, "the second page of the text")?;
    check(init.access(out, DATA, 8, None)? == 0x14, "the fifth page of the file")?;
    init.access(out, DATA, 8, Some(1))?;
    init.access(out, HEAP, 0x2000, Some(2))?;
    init.access(out, STACK, 0xf_dff8, Some(3))?;
    init.access(out, STACK, 0xf_9ff8, Some(4))?;
    // The same addresses, other frames.
    getty.access(out, DATA, 8, Some(9))?;
    check(init.access(out, DATA, 8, None)? == 1, "processes are apart")?;
    init.refused(out, TEXT, 0, true)?;
    init.refused(out, HEAP, 0x4000, false)?;
    // The segment is longer than what is left behind it.
    init.space.brk(VirtAddr::new(0x60_4000))?;
    init.refused(out, HEAP, 0x3000, false)?;
    init.maps(out)?;
    buddyinfo(out, frames)?;
    show(out, tasks, heap)?;

    writeln!(out, "\n== 7. Fork: pages are shared until somebody writes")?;
    let free = free_frames(frames)?;
    let mut child = Process { name: "child", segments: init.segments.clone(), space: init.space.fork()? };
    writeln!(out, "fork took {} frames, all of them for tables and areas", free - free_frames(frames)?)?;
    check(child.access(out, HEAP, 0x2000, None)? == 2, "the child has the parent's memory")?;
    child.access(out, HEAP, 0x2000, Some(7))?;
    check(init.access(out, HEAP, 0x2000, None)? == 2, "the parent does not see the child's write")?;
    init.access(out, HEAP, 0x2000, Some(8))?;
    check(child.access(out, HEAP, 0x2000, None)? == 7, "nor the child the parent's")?;
    let counts = |process: &Process<'_, '_, '_, '_>| {
        let counts = process.space.counts();
        format!(
            "{}: {} faults, {} pages copied, {} taken over",
            process.name, counts.faults, counts.copied, counts.reused
        )
    };
    for process in [&init, &getty, &child] {
        writeln!(out, "{}", counts(process))?;
    }
    writeln!(
        out,
        "a real CPU would have been told {} times to forget translations",
        os.caches.invalidations.get()
    )?;
    for process in [child, getty, init] {
        process.space.destroy();
    }
    drop(running);
    Ok(())
}

/// A task of the kernel's cache.
fn named<'t, 'f, 'm>(
    tasks: &'t Tasks<'f, 'm>,
    pid: u32,
    name: &str,
) -> Result<hectare::slab::SlabBox<'t, Tasks<'f, 'm>>, Failure> {
    let mut task = tasks.take()?;
    Task::begin(&mut task, pid, name);
    Ok(task)
}
