//! The kernel in every address space, and what is resident as text.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Frame, FrameRun, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::Attributes;
use hectare_paging::format::X86_64;
use hectare_paging::space::maps::Label;
use hectare_paging::space::{AddressSpace, Advice, MapRequest, Place, Settings, SpaceError};
use hectare_paging::table::{MapOptions, PageTable, TableError};

use crate::machine::walk;
use crate::processes::machine;

type F = X86_64<4>;
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

#[test]
fn a_kernel_s_half_is_in_every_space_and_in_no_area() {
    let machine = machine(256);
    let kernel_page = Page::new(0xf_ffff_8000_0000);
    let half = PageRun::new(kernel_page, 1 << 20).unwrap();
    let mut kernel = PageTable::<F, _, _>::new(&machine.window, &machine.frames).unwrap();
    kernel.pin(half).unwrap().later();
    let attributes = Attributes::new(RW).with_global(true);
    let map = |kernel: &mut PageTable<F, _, _>, nth: u64| {
        let frame = FrameRun::new(Frame::new(0x77 + nth), 1).unwrap();
        kernel
            .map(Page::new(kernel_page.number() + nth), frame, attributes, MapOptions::DEFAULT)
            .unwrap()
            .later();
    };
    map(&mut kernel, 0);
    let window = PageRun::new(Page::new(16), 0x7_ffff_ffe0).unwrap();
    let mut space = AddressSpace::<F, _>::new(machine.kernel(), Settings::new(window)).unwrap();
    space.share_kernel(&kernel).unwrap();
    let again = space.share_kernel(&kernel);
    assert!(matches!(again, Err(SpaceError::Table(TableError::Shared { .. }))), "{again:?}");
    let page = space.map(MapRequest::anonymous(NonZero::new(1).unwrap(), RW)).unwrap();
    space.handle_fault(page.start(hectare_core::PageSize::SIZE_4K).unwrap(), Access::user_write()).unwrap();
    let child = space.fork().unwrap();
    // What the kernel maps later is there too.
    map(&mut kernel, 5);
    for space in [&space, &child] {
        for nth in [0, 5] {
            let address = VirtAddr::new((kernel_page.number() + nth) << 12);
            let place =
                walk::<F>(space.table().window(), space.table().root(), address, Access::kernel_write());
            assert_eq!(place.unwrap().value() >> 12, 0x77 + nth);
            let user = walk::<F>(space.table().window(), space.table().root(), address, Access::user_read());
            assert_eq!(user, None);
        }
        space.check_invariants().unwrap();
        assert_eq!(space.resident(), 1);
    }
    child.destroy();
    space.destroy();
    let after = VirtAddr::new(kernel_page.number() << 12);
    assert!(kernel.find(after).is_some(), "the kernel's tables stay");
}

#[test]
fn what_is_resident_prints_as_linux_prints_it() {
    let machine = machine(64);
    let window = PageRun::new(Page::new(16), 1 << 30).unwrap();
    let mut space = AddressSpace::<F, _>::new(machine.kernel(), Settings::new(window)).unwrap();
    let request = MapRequest::anonymous(NonZero::new(33).unwrap(), RW);
    space.map(request.at(Place::Fixed(Page::new(0x55_5555)))).unwrap();
    for nth in 0..4 {
        let access = if nth < 3 { Access::user_write() } else { Access::user_read() };
        space.handle_fault(VirtAddr::new((0x55_5555 + nth) << 12), access).unwrap();
    }
    space.evict(Page::new(0x55_5555)).unwrap();
    let child = space.fork().unwrap();
    space.handle_fault(VirtAddr::new(0x55_5556 << 12), Access::user_write()).unwrap();
    space.advise(Page::new(0x55_5555), 33, Advice::NoHuge).unwrap();
    let text = space.smaps(|_| Label::special("[heap]")).to_string();
    // Line for line as a kernel of version 6 writes it, but for what is not known here.
    let expected = "\
555555000-555576000 rw-p 00000000 00:00 0                                [heap]
Size:                132 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                  12 kB
Shared_Clean:          4 kB
Shared_Dirty:          4 kB
Private_Clean:         0 kB
Private_Dirty:         4 kB
Referenced:           12 kB
AnonHugePages:         0 kB
Swap:                  4 kB
VmFlags: rd wr mr mw me nh \n";
    assert_eq!(text, expected);
    child.destroy();
    space.destroy();
    assert_eq!(machine.used().0, 0);
}
