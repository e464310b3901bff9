//! The program's physical memory: frames for tables, and frames that pages show.
use core::cell::Cell;
use core::marker::PhantomData;

use hectare_core::{
    AllocError, DirectMap, Frame, FrameRequest, FrameRun, FrameSource, FreeError, PageSize, Permissions,
    PhysAddr, PhysWindow,
};
use hectare_paging::table::identity;
use hectare_paging::{Attributes, Touched};

use crate::arch::{self, Machine};

/// Frames for tables.
const TABLES: u64 = 128;
/// How many leaves of level 1 the mapped frames would fill.
const LARGE: u64 = 2;

pub struct Memory<F> {
    direct: DirectMap,
    /// The first frame for tables, and which of them are taken.
    tables: Frame,
    taken: Cell<u128>,
    /// How many more may be taken: the source refuses at will.
    pub allowance: Cell<u64>,
    /// The frames that pages show.
    pub data: FrameRun,
    format: PhantomData<F>,
}

impl<F: Machine> Memory<F> {
    /// Lays it out behind the program; every frame for pages begins with a function that returns.
    pub fn new() -> Self {
        let (start, end) = arch::MEMORY;
        // SAFETY: memory, shown at its own address by whatever tables are in force.
        let direct = unsafe { identity(PhysAddr::new(start), end - start) }.expect("no wrap");
        let align = |address: u64, size: u64| address.next_multiple_of(size);
        let tables = align(arch::end_of_image(), F::PAGE.bytes());
        let large = F::leaf_size(1).bytes();
        let data = align(tables + TABLES * F::PAGE.bytes(), large);
        assert!(data + LARGE * large <= end, "the machine has too little memory");
        let frame = |address: u64| Frame::new(address >> F::PAGE.log2());
        let memory = Self {
            direct,
            tables: frame(tables),
            taken: Cell::new(0),
            allowance: Cell::new(u64::MAX),
            data: FrameRun::new(frame(data), LARGE << F::INDEX_BITS[0]).expect("frames"),
            format: PhantomData,
        };
        for page in memory.data.iter() {
            memory.write(page, 0, arch::RETURN);
        }
        memory
    }

    /// All memory at its own address.
    pub const fn direct(&self) -> DirectMap {
        self.direct
    }

    /// How many frames tables have.
    pub fn taken(&self) -> u32 {
        self.taken.get().count_ones()
    }

    /// One of the frames that pages show.
    pub fn frame(&self, number: u32) -> Frame {
        self.data.first().checked_add(number.into()).expect("a frame")
    }

    fn word(&self, frame: Frame, offset: u64) -> *mut u32 {
        let start = frame.start(F::PAGE).expect("an address").value();
        self.direct.pointer(PhysAddr::new(start + offset), 4).expect("memory").cast().as_ptr()
    }

    /// A word of a frame, past all tables.
    pub fn read(&self, frame: Frame, offset: u64) -> u32 {
        // SAFETY: a word of memory that is no Rust object's.
        unsafe { self.word(frame, offset).read_volatile() }
    }

    pub fn write(&self, frame: Frame, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { self.word(frame, offset).write_volatile(value) };
    }
}

// SAFETY: a frame is given while its bit is clear, and the bit is set then; nothing else uses the frames.
unsafe impl<F: Machine> FrameSource for &Memory<F> {
    const FRAME_SIZE: PageSize = F::PAGE;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let place = self.taken.get().trailing_ones();
        let left = self.allowance.get().checked_sub(request.count.get()).ok_or(AllocError::OutOfMemory)?;
        if request.count.get() != 1 || u64::from(place) >= TABLES {
            return Err(AllocError::OutOfMemory);
        }
        self.allowance.set(left);
        self.taken.set(self.taken.get() | 1 << place);
        let frame = self.tables.checked_add(place.into()).expect("a frame");
        // Rubbish of the worst kind: every word is a page with all rights, wherever the table comes to hang.
        let rights = F::nearest(Attributes::new(Permissions::READ | Permissions::WRITE));
        let memory = self.data.first().start(F::PAGE).expect("an address");
        let leaf = F::leaf(memory, rights, Touched::DIRTY, 0).expect("a page of memory");
        let words: *mut F::Entry = self.word(frame, 0).cast();
        for nth in 0..F::PAGE.bytes() as usize / size_of::<F::Entry>() {
            // SAFETY: inside the frame, which is nobody's yet.
            unsafe { words.add(nth).write(leaf) };
        }
        Ok(FrameRun::new(frame, 1).expect("a frame"))
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let place = run.first().number().wrapping_sub(self.tables.number());
        if run.count() != 1 || place >= TABLES {
            return Err(FreeError::Foreign);
        }
        let bit = 1 << place;
        // What was freed twice would be linked twice.
        assert!(self.taken.get() & bit != 0, "a table was freed twice");
        self.taken.set(self.taken.get() & !bit);
        Ok(())
    }
}
