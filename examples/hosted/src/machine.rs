//! The simulated machine: its memory, the firmware's map of it, and the two zones that give out its frames.
//!
//! ```text
//!   0        0x9fc00   1 MiB     2.5 MiB                16 MiB                          63.875 MiB  64 MiB
//!   ├─ usable ─┤─ ROM ──┤─ kernel ─┤────── usable ───────┼──────────── usable ──────────────┤─ ACPI ──┤
//!   ╰──────────────── zone DMA ──────────────────────────╯╰────────── zone Normal ──────────╯
//!                                    each zone's own words lie in the last frames of the zone
//! ```
#![expect(unsafe_code, reason = "owns the simulated memory and implements a frame source over it")]

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::fmt::Write;
use core::num::NonZero;
use core::ptr::NonNull;
use core::slice;

use hectare::buddy::memory_map::DMA_LIMIT;
use hectare::buddy::{Bank, Banks, Engine, MapEntry, Rows64, Urgency, Watermarks, Zone, Zones, words_for};
use hectare::{
    AllocError, CheckInvariants, DirectMap, Figures, Frame, FrameRequest, FrameRun, FrameSource, FreeError,
    Locked, NoLock, Order, PageSize, PhysAddr, PhysWindow, SharedFrameSource, Violation,
};

use crate::Failure;

/// All frames of the machine: 4 KiB.
pub(crate) const FRAME: PageSize = PageSize::SIZE_4K;
const MEMORY: u64 = 64 << 20;
const DMA: usize = 0;
const NORMAL: usize = 1;

/// Who takes and gives frames, shared by all parts of the kernel.
pub(crate) type Frames<'m> = Locked<NoLock, ZonedFrames<'m>>;

/// What the firmware says about memory, and where the loader put the kernel.
pub(crate) fn memory_map() -> [(MapEntry, &'static str); 5] {
    let entry =
        |make: fn(PhysAddr, u64) -> MapEntry, start, end: u64| make(PhysAddr::new(start), end - start);
    [
        (entry(MapEntry::usable, 0, 0x9_fc00), "usable"),
        (entry(MapEntry::reserved, 0x9_fc00, 0x10_0000), "ROM"),
        (entry(MapEntry::usable, 0x10_0000, 0x3fe_0000), "usable"),
        (entry(MapEntry::reserved, 0x10_0000, 0x28_0000), "the kernel's image"),
        (entry(MapEntry::reserved, 0x3fe_0000, MEMORY), "ACPI"),
    ]
}

/// Every frame that there is, used or not.
pub(crate) fn all_of_memory() -> Option<FrameRun> {
    FrameRun::new(Frame::new(0), MEMORY >> FRAME.log2())
}

/// The machine's memory: physical address 0 is its first byte.
pub(crate) struct Ram {
    start: NonNull<u8>,
}

impl Ram {
    /// Slabs are found by masking addresses, so pointers are aligned as physical addresses are, up to 2 MiB.
    const LAYOUT: Layout = match Layout::from_size_align(MEMORY as usize, 2 << 20) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };

    pub(crate) fn new() -> Self {
        // SAFETY: the layout has a size that is not 0.
        let start = unsafe { alloc_zeroed(Self::LAYOUT) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(Self::LAYOUT)) }
    }

    /// The kernel's direct map: all of memory. The frames that it shows belong to whoever took them.
    pub(crate) fn window(&self) -> DirectMap {
        // SAFETY: the memory is valid until `self` is dropped, and the windows of this program do not outlive it.
        let window = unsafe { DirectMap::new(self.start, PhysAddr::new(0), MEMORY) };
        window.expect("neither end wraps")
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used any more.
        unsafe { dealloc(self.start.as_ptr(), Self::LAYOUT) };
    }
}

/// The zones as a source of memory: from here on, someone writes to the frames.
#[derive(Debug)]
pub(crate) struct ZonedFrames<'m> {
    zones: Zones<'m, 2>,
}

impl<'m> ZonedFrames<'m> {
    /// The zones of the memory map. Their words are carved from their own frames.
    pub(crate) fn new(ram: &'m Ram, tables: &'m mut [[Bank; 8]; 2]) -> Result<Self, Failure> {
        let window = ram.window();
        let dma_end = DMA_LIMIT.split(FRAME).0;
        let ranges = [Frame::new(0)..dma_end, dma_end..Frame::new(MEMORY >> FRAME.log2())];
        let [dma, normal] = tables;
        let dma = Zone::new("DMA", engine(&window, dma, ranges[DMA].clone())?);
        let normal = Zone::new("Normal", engine(&window, normal, ranges[NORMAL].clone())?);
        // A DMA frame serves an ordinary request only while 1024 others are left for devices.
        let marks = Watermarks { min: 32, low: 64, high: 96, protected: 1024 };
        let zones = [dma.keeping(marks), normal.keeping(Watermarks { protected: 0, ..marks })];
        let zones = Zones::new(zones).map_err(|_| "the zones overlap")?;
        Ok(Self { zones })
    }

    pub(crate) fn free_frames(&self) -> u64 {
        self.zones.usage().free
    }

    pub(crate) fn check(&self) -> Result<(), Violation> {
        self.zones.check_invariants()
    }

    /// Frames that an old device can reach: below 16 MiB.
    pub(crate) fn allocate_dma(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.zones.allocate(DMA, request.into(), Urgency::Ordinary)
    }
}

/// A device's ring buffer of 64 KiB below 16 MiB comes and goes.
pub(crate) fn stage(out: &mut String, frames: &Frames<'_>) -> Result<(), Failure> {
    buddyinfo(out, frames)?;
    let request = FrameRequest::order(Order::holding(16).ok_or("an order")?);
    let ring = frames.with(|frames| frames.allocate_dma(request))??;
    let start = ring.first().start(FRAME).ok_or("an address")?;
    writeln!(out, "a ring of {} frames for an old device at {start}:", ring.count())?;
    buddyinfo(out, frames)?;
    // SAFETY: taken above, and nothing used it.
    unsafe { frames.free_frames(ring) }?;
    Ok(())
}

pub(crate) fn buddyinfo(out: &mut String, frames: &Frames<'_>) -> Result<(), Failure> {
    Ok(frames.with(|frames| write!(out, "{}", frames.zones))??)
}

/// An engine over the usable frames of a range, with its words in the last of them.
fn engine<'m>(
    window: &DirectMap,
    table: &'m mut [Bank],
    range: core::ops::Range<Frame>,
) -> Result<Engine<'m>, Failure> {
    let mut banks = Banks::from_map(table, FRAME, memory_map().map(|(entry, _)| entry))?;
    banks.keep(range);
    let words = banks.span().and_then(words_for::<Rows64>).ok_or("a zone without memory")?;
    let bytes = words as u64 * size_of::<u64>() as u64;
    let frames = NonZero::new(bytes.div_ceil(FRAME.bytes())).ok_or("a zone without memory")?;
    let place = banks.carve(frames).ok_or("no room for a zone's words")?;
    let start = place.first().start(FRAME).and_then(|start| window.pointer(start, bytes));
    let start = start.ok_or("a zone outside the window")?.cast::<u64>();
    // SAFETY: (1) the window shows that many bytes there, aligned as frames are, and zero is a value; (2) the frames were
    // carved: no engine gives them out, so that nobody else uses them; (3) the memory outlives 'm, which borrows it.
    let words = unsafe { slice::from_raw_parts_mut(start.as_ptr(), words) };
    Ok(Engine::new(banks, words)?)
}

// SAFETY: (1) the banks are the machine's memory, less what is reserved; (2) and (3) are the engines' promises; (4) frames
// are taken back by the method below alone; (5) frames of no zone are refused.
unsafe impl FrameSource for ZonedFrames<'_> {
    const FRAME_SIZE: PageSize = FRAME;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.zones.allocate(NORMAL, request.into(), Urgency::Ordinary)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.zones.free(run)
    }
}
