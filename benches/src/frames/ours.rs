//! Our page-frame allocators, each behind [`Subject`].

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use hectare_buddy::shared::{self, Shared};
use hectare_buddy::{Bank, Banks, Cached, Engine, Frames, Geometry, Keep, Rows64, words_for};
use hectare_core::{Frame, FrameRun, Locked, Order, SpinLock};

use super::cpu::{ThreadCpu, enter};
use super::shared::SharedSubject;
use super::subject::{Memory, Subject};

/// Words of metadata over frames 0 to `frames` − 1.
///
/// # Panics
/// If there are no frames, or too many for this machine.
#[must_use]
pub fn words(frames: usize) -> usize {
    let span = FrameRun::new(Frame::new(0), frames as u64).expect("there are frames");
    words_for::<Rows64>(span).expect("fewer frames than addresses")
}

/// The engine of a single owner.
#[derive(Debug)]
pub struct Buddy {
    engine: Engine<'static, Rows64>,
    metadata: usize,
}

/// Room for the table of banks, in front of the words.
const TABLE: usize = 64;

/// Tables carved from the memory's room for them.
struct Tables {
    banks: Banks<'static>,
    words: NonNull<[u64]>,
}

impl Tables {
    /// A table of one bank, all frames, and so many words.
    ///
    /// # Safety
    /// The memory is nobody else's as long as the result is used.
    unsafe fn carve(memory: &mut Memory, words: usize) -> Option<Self> {
        const { assert!(size_of::<Bank>() <= TABLE) };
        let span = FrameRun::new(Frame::new(0), memory.frames() as u64)?;
        let tables = memory.tables(TABLE + words * 8).cast::<u8>();
        // SAFETY: the tables are longer than TABLE.
        let after = unsafe { tables.add(TABLE) };
        let bank = tables.cast::<Bank>();
        // SAFETY: the bank lies in the mapping, before the words, at the beginning of a page.
        unsafe { bank.write(None) };
        // SAFETY: it was just written; the caller's promise: nobody else has it meanwhile.
        let bank = unsafe { core::slice::from_raw_parts_mut(bank.as_ptr(), 1) };
        let mut banks = Banks::new(bank);
        banks.add(span).ok()?;
        Some(Self { banks, words: NonNull::slice_from_raw_parts(after.cast(), words) })
    }
}

impl Buddy {
    /// The engine.
    pub fn engine(&mut self) -> &mut Engine<'static, Rows64> {
        &mut self.engine
    }

    /// An engine over all of the memory's frames, its tables in the room for them.
    ///
    /// # Safety
    /// The memory is nobody else's until the result is gone.
    #[must_use]
    pub unsafe fn begin(memory: &mut Memory) -> Option<Self> {
        let count = words_for::<Rows64>(FrameRun::new(Frame::new(0), memory.frames() as u64)?)?;
        // SAFETY: the caller's promise.
        let mut tables = unsafe { Tables::carve(memory, count) }?;
        // SAFETY: the words lie in a mapping of numbers, and the tables' promise: nobody else has them meanwhile.
        let words = unsafe { tables.words.as_mut() };
        let engine = Engine::new(tables.banks, words).ok()?;
        Some(Self { engine, metadata: count * 8 + size_of::<Engine<'_, Rows64>>() })
    }
}

/// An order from a trace, which is at most 20.
#[inline(always)]
pub(super) fn order_of(order: u32) -> Order {
    Order::new(order as u8).unwrap_or_default()
}

impl Subject for Buddy {
    type Block = u32;

    unsafe fn build(memory: &mut Memory) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        unsafe { Self::begin(memory) }.map(Box::new)
    }

    #[inline(always)]
    fn allocate(&mut self, order: u32) -> Option<u32> {
        self.engine.allocate_order(order_of(order)).ok().map(|frame| frame.number() as u32)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: u32, order: u32) -> bool {
        self.engine.free_order(Frame::new(u64::from(block)), order_of(order)).is_ok()
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(self.metadata)
    }
}

/// The engine for many CPUs.
#[derive(Debug)]
pub struct SharedBuddy<G: Geometry = Rows64> {
    engine: Shared<'static, ThreadCpu, G>,
    metadata: usize,
}

impl<G: Geometry + Sync> SharedSubject for SharedBuddy<G> {
    type Block = u32;

    unsafe fn build(memory: &mut Memory, cpus: usize) -> Option<Box<Self>> {
        let span = FrameRun::new(Frame::new(0), memory.frames() as u64)?;
        let count = shared::words_for::<G>(span, u32::try_from(cpus).ok()?)?;
        // SAFETY: the caller's promise.
        let tables = unsafe { Tables::carve(memory, count) }?;
        let words = NonNull::slice_from_raw_parts(tables.words.cast::<AtomicU64>(), count);
        // SAFETY: the words lie in a mapping of numbers, and the tables' promise: nobody else has them meanwhile.
        let words = unsafe { words.as_ref() };
        // SAFETY: each thread that uses a subject is a CPU of its own (SharedSubject).
        let pin = unsafe { ThreadCpu::new(cpus) };
        let engine = Shared::new(tables.banks, words, pin).ok()?;
        Some(Box::new(Self { engine, metadata: count * 8 + size_of::<Self>() }))
    }

    fn enter(cpu: usize) {
        enter(cpu);
    }

    #[inline(always)]
    fn allocate(&self, _cpu: usize, order: u32) -> Option<u32> {
        self.engine.allocate_order(order_of(order)).ok().map(|frame| frame.number() as u32)
    }

    #[inline(always)]
    unsafe fn free(&self, _cpu: usize, block: u32, order: u32) -> bool {
        self.engine.free_order(Frame::new(u64::from(block)), order_of(order)).is_ok()
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(self.metadata)
    }
}

/// CPUs that have a cache.
const CPUS: usize = 16;

/// The engine of a single owner behind a spin lock, and a cache of frames and huge pages for each CPU.
#[derive(Debug)]
pub struct CachedBuddy {
    inner: Cached<Locked<SpinLock, Frames<'static>>, ThreadCpu, CPUS>,
    metadata: usize,
}

impl SharedSubject for CachedBuddy {
    type Block = u32;

    unsafe fn build(memory: &mut Memory, cpus: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let buddy = unsafe { Buddy::begin(memory) }?;
        // SAFETY: the frames are numbers here: nobody writes to them.
        let frames = unsafe { Frames::new(buddy.engine) };
        // SAFETY: each thread that uses a subject is a CPU of its own (SharedSubject).
        let pin = unsafe { ThreadCpu::new(cpus.min(CPUS)) };
        let inner = Cached::new(Locked::new(frames), pin, Keep::FRAMES_AND_HUGE);
        Some(Box::new(Self { inner, metadata: buddy.metadata + size_of::<Self>() }))
    }

    fn enter(cpu: usize) {
        enter(cpu);
    }

    #[inline(always)]
    fn allocate(&self, _cpu: usize, order: u32) -> Option<u32> {
        self.inner.allocate_order(order_of(order)).ok().map(|frame| frame.number() as u32)
    }

    #[inline(always)]
    unsafe fn free(&self, _cpu: usize, block: u32, order: u32) -> bool {
        // SAFETY: the caller's promise: the block is live, and nobody uses it any more.
        unsafe { self.inner.free_order(Frame::new(u64::from(block)), order_of(order)) }.is_ok()
    }

    fn frame(block: u32) -> u64 {
        u64::from(block)
    }

    fn metadata_bytes(&self) -> Option<usize> {
        Some(self.metadata)
    }
}
