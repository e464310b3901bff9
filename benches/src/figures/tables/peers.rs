//! The peers, each with its tables in the common pool and its flushes made empty.
#![expect(unsafe_code, reason = "peers' traits and constructors")]

use core::ptr::NonNull;

use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};
use page_table_multiarch::{MappingFlags, PageTable64, PagingHandler, PagingMetaData};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, OffsetPageTable, PageTable as X64Table, PhysFrame, Size4KiB,
};

use super::pool::POOL;

// ------------------------------------------------------------------------------------------------------------- x86_64
/// Frames for `x86_64`.
pub(super) struct X64Frames;

// SAFETY: frames of the pool are unused.
unsafe impl FrameAllocator<Size4KiB> for X64Frames {
    #[inline]
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        POOL.take().map(|address| PhysFrame::containing_address(x86_64::PhysAddr::new(address)))
    }
}

impl FrameDeallocator<Size4KiB> for X64Frames {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        POOL.give(frame.start_address().as_u64());
    }
}

/// An empty table and its root frame.
pub(super) fn x64() -> (OffsetPageTable<'static>, u64) {
    let root = POOL.take().expect("a frame");
    // SAFETY: a frame of the pool, taken for this table.
    unsafe { POOL.pointer(root).write_bytes(0, 4096) };
    // SAFETY: as above; nobody else uses it while the table lives.
    let table = unsafe { &mut *POOL.pointer(root).cast::<X64Table>() };
    // SAFETY: the pool shows physical memory at this offset.
    (unsafe { OffsetPageTable::new(table, x86_64::VirtAddr::new(POOL.offset())) }, root)
}

/// Gives the tables back: `x86_64` has no call that frees tables with entries.
pub(super) fn free_x64(root: u64, level: u32) {
    if level > 1 {
        for index in 0..512 {
            let word = POOL.pointer(root).cast::<u64>().wrapping_add(index);
            // SAFETY: a table of the pool that nobody uses any more.
            let entry = unsafe { word.read() };
            if entry & 0x81 == 1 {
                free_x64(entry & 0x000F_FFFF_FFFF_F000, level - 1);
            }
        }
    }
    POOL.give(root);
}

// -------------------------------------------------------------------------------------------------- page_table_multiarch
/// x86-64 without `invlpg`, which a program cannot execute.
pub(super) struct NoFlush;

impl PagingMetaData for NoFlush {
    const LEVELS: usize = 4;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 48;
    type VirtAddr = memory_addr::VirtAddr;

    #[inline]
    fn flush_tlb(_vaddr: Option<memory_addr::VirtAddr>) {}
}

/// Frames for `page_table_multiarch`.
pub(super) struct MultiarchFrames;

impl PagingHandler for MultiarchFrames {
    #[inline]
    fn alloc_frames(_num: usize, _align: usize) -> Option<memory_addr::PhysAddr> {
        POOL.take().map(|address| (address as usize).into())
    }

    #[inline]
    fn dealloc_frames(paddr: memory_addr::PhysAddr, _num: usize) {
        POOL.give(paddr.as_usize() as u64);
    }

    #[inline]
    fn phys_to_virt(paddr: memory_addr::PhysAddr) -> memory_addr::VirtAddr {
        (POOL.pointer(paddr.as_usize() as u64) as usize).into()
    }
}

/// Its table.
pub(super) type Multiarch = PageTable64<NoFlush, page_table_entry::x86_64::X64PTE, MultiarchFrames>;

/// What user memory is to it.
pub(super) fn multiarch_flags(write: bool) -> MappingFlags {
    let flags = MappingFlags::READ | MappingFlags::USER;
    if write { flags | MappingFlags::WRITE } else { flags }
}

// ---------------------------------------------------------------------------------------------------- page-table-generic
/// An x86-64 entry, as its users have to write one.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct GenericEntry(u64);

impl page_table_generic::PageTableEntry for GenericEntry {
    type PteConfig = u64;

    #[inline]
    fn new_page(paddr: page_table_generic::PhysAddr, config: u64, is_huge: bool) -> Self {
        Self(paddr.as_usize() as u64 | config | u64::from(is_huge) << 7 | 1)
    }

    #[inline]
    fn new_table(paddr: page_table_generic::PhysAddr) -> Self {
        Self(paddr.as_usize() as u64 | 7)
    }

    #[inline]
    fn paddr(&self, _is_dir: bool) -> page_table_generic::PhysAddr {
        ((self.0 & 0x000F_FFFF_FFFF_F000) as usize).into()
    }

    #[inline]
    fn config(&self, _is_dir: bool) -> u64 {
        self.0 & 0xFFF
    }

    #[inline]
    fn present(&self) -> bool {
        self.0 & 1 != 0
    }

    #[inline]
    fn huge(&self, is_dir: bool) -> bool {
        is_dir && self.0 & 0x80 != 0
    }

    #[inline]
    fn unused(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn clear(&mut self) {
        self.0 = 0;
    }
}

/// Its description of x86-64.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenericMeta;

impl page_table_generic::TableMeta for GenericMeta {
    type P = GenericEntry;
    const PAGE_SIZE: usize = 4096;
    const LEVEL_BITS: &[usize] = &[9, 9, 9, 9];
    const MAX_BLOCK_LEVEL: usize = 3;

    #[inline]
    fn flush(_vaddr: Option<page_table_generic::VirtAddr>) {}
}

/// Frames for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenericFrames;

impl page_table_generic::FrameAllocator for GenericFrames {
    #[inline]
    fn alloc_frame(&self) -> Option<page_table_generic::PhysAddr> {
        POOL.take().map(|address| (address as usize).into())
    }

    #[inline]
    fn dealloc_frame(&self, frame: page_table_generic::PhysAddr) {
        POOL.give(frame.as_usize() as u64);
    }

    #[inline]
    fn phys_to_virt(&self, paddr: page_table_generic::PhysAddr) -> *mut u8 {
        POOL.pointer(paddr.as_usize() as u64)
    }
}

/// Its table.
pub(super) type Generic = page_table_generic::PageTable<GenericMeta, GenericFrames>;

// -------------------------------------------------------------------------------------------------------- aarch64-paging
/// Frames for `aarch64-paging`.
#[derive(Debug)]
pub(super) struct Aarch64Frames;

impl Translation<El1Attributes> for Aarch64Frames {
    #[inline]
    fn allocate_table(&mut self) -> (NonNull<PageTable<El1Attributes>>, PhysicalAddress) {
        let address = POOL.take().expect("a frame");
        let pointer = POOL.pointer(address);
        // SAFETY: a frame of the pool that was just taken.
        unsafe { pointer.write_bytes(0, 4096) };
        (NonNull::new(pointer.cast()).expect("not null"), PhysicalAddress(address as usize))
    }

    #[inline]
    unsafe fn deallocate_table(&mut self, page_table: NonNull<PageTable<El1Attributes>>) {
        POOL.give((page_table.as_ptr() as u64).wrapping_sub(POOL.offset()));
    }

    #[inline]
    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<El1Attributes>> {
        NonNull::new(POOL.pointer(pa.0 as u64).cast()).expect("not null")
    }
}

/// Its table.
pub(super) type Aarch64 = Mapping<Aarch64Frames, El1And0>;

/// An empty table.
pub(super) fn aarch64() -> Aarch64 {
    Mapping::with_asid_and_va_range(Aarch64Frames, 1, 0, El1And0, VaRange::Lower)
}

/// What user memory is to it.
pub(super) fn aarch64_flags(write: bool) -> El1Attributes {
    let flags = El1Attributes::VALID
        | El1Attributes::USER
        | El1Attributes::ACCESSED
        | El1Attributes::INNER_SHAREABLE
        | El1Attributes::NON_GLOBAL
        | El1Attributes::UXN;
    if write { flags } else { flags | El1Attributes::READ_ONLY }
}

/// Maps, or unmaps if the flags are empty.
pub(super) fn map_aarch64(
    table: &mut Aarch64,
    at: u64,
    memory: u64,
    bytes: u64,
    flags: El1Attributes,
    huge: bool,
) {
    let region = MemoryRegion::new(at as usize, (at + bytes) as usize);
    let no_contiguous = Constraints::NO_CONTIGUOUS_HINT;
    let constraints = if huge { no_contiguous } else { no_contiguous | Constraints::NO_BLOCK_MAPPINGS };
    table.map_range(&region, PhysicalAddress(memory as usize), flags, constraints).expect("mapped");
}
