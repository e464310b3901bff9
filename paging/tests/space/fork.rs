//! Forks: frames in any order, counts that are full, and what two processes do afterwards.

use core::num::NonZero;
use core::sync::atomic::AtomicU32;

use hectare_core::{
    Access, CheckInvariants, Frame, FrameRun, Page, PageRun, PageSize, Permissions, VirtAddr,
};
use hectare_paging::format::X86_64;
use hectare_paging::space::{
    AddressSpace, FrameRefs, HugePages, MapRequest, Place, RefTable, Settings, TooManyUsers,
};

use crate::machine::access;
use crate::processes::machine;

type F = X86_64<4>;
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

#[test]
fn a_share_that_is_refused_counts_nobody() {
    let full = u32::MAX / 2;
    for place in [0, 1, 7, 8, 12, 16, 23] {
        let counts: Vec<AtomicU32> = (0..24).map(|nth| AtomicU32::new(1 + nth % 5 / 4)).collect();
        counts[place].store(full, core::sync::atomic::Ordering::Relaxed);
        let refs = RefTable::new(Frame::new(100), &counts);
        let before: Vec<_> = counts.iter().map(|count| format!("{count:?}")).collect();
        // Frames below and above are not counted.
        let run = FrameRun::new(Frame::new(90), 40).unwrap();
        let frame = Frame::new(100 + place as u64);
        assert_eq!(refs.share(run), Err(TooManyUsers { frame }));
        assert_eq!(refs.join(run), Err(TooManyUsers { frame }));
        assert_eq!(refs.share(FrameRun::new(frame, 1).unwrap()), Err(TooManyUsers { frame }));
        assert_eq!(counts.iter().map(|count| format!("{count:?}")).collect::<Vec<_>>(), before);
        counts[place].store(1, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(refs.share(run), Ok(()));
        let after = (0..24_u32).map(|nth| if nth as usize == place { 2 } else { 2 + nth % 5 / 4 });
        assert!(after.eq((0..24).map(|nth| refs.users(Frame::new(100 + nth)).unwrap())));
    }
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_fork_shares_frames_in_any_order() {
    const COUNT: u64 = 1300;
    let machine = machine(6000);
    let zero = machine.zero_frame();
    let first = Page::new(0x3ff0);
    let window = PageRun::new(Page::new(16), 1 << 30).unwrap();
    for zero_frame in [None, Some(zero)] {
        let settings = Settings { huge: HugePages::Never, zero_frame, ..Settings::new(window) };
        let mut space = AddressSpace::<F, _>::new(machine.kernel(), settings).unwrap();
        let request = MapRequest::anonymous(NonZero::new(COUNT).unwrap(), RW);
        space.map(request.at(Place::Fixed(first))).unwrap();
        let at = |nth: u64| VirtAddr::new((first.number() + nth) << 12);
        // Frames that follow the pages, some that do not, holes, and pages that were only read.
        let order = (0..500).chain((0..500).map(|nth| 500 + nth * 77 % 500)).chain((1000..COUNT).step_by(3));
        for nth in order {
            let (place, _) = access(&mut space, at(nth), Access::user_write()).unwrap();
            machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| {
                bytes[..8].copy_from_slice(&nth.to_le_bytes())
            });
        }
        for nth in (1001..COUNT).step_by(7) {
            access(&mut space, at(nth), Access::user_read()).unwrap();
        }
        let mut child = space.fork().unwrap();
        assert_eq!(child.resident(), space.resident());
        space.check_invariants().unwrap();
        child.check_invariants().unwrap();
        let read = |space: &mut AddressSpace<F, _>, nth: u64| {
            let (place, _) = access(space, at(nth), Access::user_read()).unwrap();
            machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| {
                u64::from_le_bytes(bytes[..8].try_into().unwrap())
            })
        };
        for nth in 0..COUNT {
            let expected = if nth < 1000 || (nth - 1000) % 3 == 0 { nth } else { 0 };
            assert_eq!((read(&mut space, nth), read(&mut child, nth)), (expected, expected), "page {nth}");
        }
        for nth in (0..1000).step_by(5) {
            let (place, _) = access(&mut child, at(nth), Access::user_write()).unwrap();
            machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| bytes[..8].fill(0xee));
            assert_eq!(read(&mut space, nth), nth);
        }
        assert_eq!(child.counts().copied, 200);
        child.destroy();
        // Whose alone they are again, they are taken over.
        for nth in 0..1000 {
            access(&mut space, at(nth), Access::user_write()).unwrap();
        }
        assert_eq!((space.counts().reused, space.counts().copied), (1000, 0));
        space.check_invariants().unwrap();
        space.destroy();
        assert_eq!((machine.used().0, machine.users()), (1, 0));
    }
}
