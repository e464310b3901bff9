//! The mapper of the crate `x86_64` with our frames in the place of its own allocator.
#![expect(unsafe_code, reason = "owns the memory that plays the machine's")]

use hectare::buddy::{Banks, Engine, Frames, Rows64, X86Frames, words_for};
use hectare::{Frame, FrameRun};
use x86_64::structures::paging::mapper::{MapToError, Mapper, OffsetPageTable, Translate};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Page, PageTable, PageTableFlags, PhysFrame, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// 4 MiB that play physical memory, from address 0 on.
#[repr(align(4096))]
struct Memory([u8; 4 << 20]);

#[test]
fn the_mapper_of_x86_64_takes_our_frames() {
    let mut memory = Box::new(Memory([0; 4 << 20]));
    let offset = VirtAddr::from_ptr(memory.0.as_mut_ptr());
    let span = FrameRun::new(Frame::new(0), 1 << 10).expect("frames");
    let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(span).expect("a short span")]);
    let mut banks = Banks::new(&mut table);
    banks.add(span).expect("one bank");
    let engine = Engine::<Rows64>::new(banks, &mut words).expect("enough words");
    // SAFETY: the frames are the memory above, which nothing else uses.
    let mut frames = X86Frames::new(unsafe { Frames::<Rows64>::new(engine) });

    let root: PhysFrame<Size4KiB> = frames.allocate_frame().expect("a root");
    let root_table: *mut PageTable = (offset + root.start_address().as_u64()).as_mut_ptr();
    // SAFETY: the frame is ours, and zero is a table.
    let root_table = unsafe { &mut *root_table };
    // SAFETY: all of physical memory is at the offset.
    let mut mapper = unsafe { OffsetPageTable::new(root_table, offset) };

    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
    let small: PhysFrame<Size4KiB> = frames.allocate_frame().expect("a frame");
    let huge: PhysFrame<Size2MiB> = frames.allocate_frame().expect("a block of 2 MiB");
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(0x1000_0000));
    let huge_page = Page::<Size2MiB>::containing_address(VirtAddr::new(0x4000_0000));
    // SAFETY: nobody translates by these tables.
    unsafe { mapper.map_to(page, small, flags, &mut frames) }.expect("frames for tables").ignore();
    // SAFETY: as above.
    unsafe { mapper.map_to(huge_page, huge, flags, &mut frames) }.expect("frames for tables").ignore();
    let at = |address| mapper.translate_addr(VirtAddr::new(address));
    assert_eq!(at(0x1000_0123), Some(small.start_address() + 0x123));
    assert_eq!(at(0x4012_3456), Some(PhysAddr::new(huge.start_address().as_u64() + 0x12_3456)));
    // SAFETY: as above.
    let again = unsafe { mapper.map_to(page, small, flags, &mut frames) };
    assert!(matches!(again, Err(MapToError::PageAlreadyMapped(_))));

    let (freed, flush) = mapper.unmap(huge_page).expect("mapped above");
    flush.ignore();
    // SAFETY: nothing uses the frames any more.
    unsafe { frames.deallocate_frame(freed) };
    assert_eq!((frames.bad_frees(), frames.source().engine().free_frames()), (0, (1 << 10) - 6));
}
