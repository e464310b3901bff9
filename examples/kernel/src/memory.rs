//! Physical memory: from the firmware's map to frames, and from frames to the heap.
//!
//! ```text
//!   map: usable less reserved ─► banks ─► SharedFrames ─► CpuHeap = the global allocator
//!                                  └── the words for all frames are carved from the banks themselves
//! ```
use core::num::NonZero;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use hectare_buddy::shared::words_for;
use hectare_buddy::{Bank, Banks, MapEntry, Rows64, Shared, SharedFrames};
use hectare_core::{
    AllocError, FrameRequest, FrameRun, FreeError, PageSize, PhysAddr, PhysWindow, SharedFrameSource,
};
use hectare_slab::CpuHeap;
use spin::Once;

use crate::arch;
use crate::check::Checks;
use crate::cpus::{self, CPUS, Lock, Pin};

pub const FRAME: PageSize = PageSize::SIZE_4K;
const BANKS: usize = 32;

/// A firmware's memory map, in a fixed table: there is no heap yet.
pub struct Map {
    entries: [MapEntry; BANKS],
    used: usize,
}

impl Map {
    pub const fn new() -> Self {
        Self { entries: [MapEntry::reserved(PhysAddr::new(0), 0); BANKS], used: 0 }
    }

    pub fn add(&mut self, entry: MapEntry) {
        let place = self.entries.get_mut(self.used).expect("the memory map has too many entries");
        *place = entry;
        self.used += 1;
    }
}

/// The machine's frames. Refuses until they are known.
pub struct Frames {
    source: Once<SharedFrames<'static, Pin>>,
}

pub static FRAMES: Frames = Frames { source: Once::new() };

/// The kernel sees each physical address at the same virtual one.
#[derive(Clone, Copy, Debug)]
pub struct Direct;

/// `Box`, `Vec` and all others come from here, on every CPU.
#[global_allocator]
pub static HEAP: CpuHeap<Pin, Lock, &'static Frames, Direct, CPUS> =
    CpuHeap::new(Pin::new(), Lock::new(), &FRAMES, Direct);

// SAFETY: the firmware says that there is memory below the limit, and the tables show it at its own address.
unsafe impl PhysWindow for Direct {
    fn pointer(&self, address: PhysAddr, length: u64) -> Option<NonNull<u8>> {
        let end = address.checked_add(length)?;
        let pointer = core::ptr::with_exposed_provenance_mut(usize::try_from(address.value()).ok()?);
        NonNull::new(pointer).filter(|_| end.value() <= arch::MEMORY_END)
    }
}

// SAFETY: all promises are those of `SharedFrames`.
unsafe impl SharedFrameSource for Frames {
    const FRAME_SIZE: PageSize = FRAME;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.source.get().ok_or(AllocError::OutOfMemory)?.allocate_frames(request)
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.source.get().ok_or(FreeError::Foreign)?.free_frames(run) }
    }
}

/// Makes frames of the map. Returns how many.
pub fn init(map: &Map) -> u64 {
    let entries = || map.entries.iter().copied().take(map.used);
    let mut table = [None; BANKS];
    let mut banks = Banks::from_map(&mut table, FRAME, entries()).expect("more banks than places");
    // The banks and the words of the engine, in frames of their own.
    let span = banks.span().expect("memory");
    let words = words_for::<Rows64>(span, CPUS as u32).expect("less than 2^64 bytes");
    let bytes = words * size_of::<u64>() + size_of::<[Bank; BANKS]>();
    let count = NonZero::new((bytes as u64).div_ceil(FRAME.bytes())).expect("not zero");
    let own = banks.carve(count).expect("room for the engine");
    let start = own.first().start(FRAME).expect("an address");
    let place = Direct.pointer(start, bytes as u64).expect("memory that is shown");
    let table = place.cast::<[Bank; BANKS]>();
    // SAFETY: the frames are in no bank: nobody else has them; frames are aligned for both.
    unsafe { table.write([None; BANKS]) };
    // SAFETY: written above, and used here alone from now on.
    let table = unsafe { &mut *table.as_ptr() };
    // SAFETY: the words lie behind the table, within the bytes that are shown.
    let first = unsafe { place.add(size_of::<[Bank; BANKS]>()).cast::<AtomicU64>() };
    // SAFETY: as above; zero is a value.
    unsafe { first.write_bytes(0, words) };
    // SAFETY: as above; nobody writes to them but through the atomics.
    let words = unsafe { core::slice::from_raw_parts(first.as_ptr(), words) };
    let mut kept = Banks::new(table);
    banks.iter().for_each(|bank| kept.add(bank).expect("as many as before"));
    let frames = kept.frames();
    let engine = Shared::new(kept, words, Pin::new()).expect("words enough");
    // SAFETY: the map says that the frames are memory, and that nobody uses them.
    FRAMES.source.call_once(|| unsafe { SharedFrames::new(engine) });
    frames
}

/// How many frames are free; exact while no CPU takes or gives any.
pub fn free_frames() -> u64 {
    // SAFETY: only read.
    FRAMES.source.get().map_or(0, |source| unsafe { source.engine() }.free_frames())
}

/// Whether, after every CPU gave back what it keeps, all frames are free.
pub fn all_back(checks: &mut Checks, all: u64) {
    cpus::on_all(|_| {
        let _ = HEAP.flush();
    });
    checks.that(HEAP.check_slabs().is_ok(), "the heap's slabs are sound");
    checks.that(HEAP.rejected() == Ok(0), "no block was freed twice");
    checks.that(HEAP.shrink().is_ok(), "the heap gives its slabs back");
    let missing = all - free_frames();
    checks.that(missing == 0, "every frame is back");
    let _ = core::fmt::Write::write_fmt(
        &mut arch::Console,
        format_args!("{missing} of {all} frames are missing\n"),
    );
}
