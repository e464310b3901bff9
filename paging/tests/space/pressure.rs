//! Fewer frames than pages: what was evicted must come back as it was.

use core::num::NonZero;

use hectare_core::{Access, CheckInvariants, Frame, Page, PageRun, PageSize, Permissions, VirtAddr};
use hectare_paging::format::{Sv39, X86_64};
use hectare_paging::space::reclaim::{Owner, Reclaimer};
use hectare_paging::space::replacement::{Age, Aging, Clock, Fifo, Links, Lru, Policy};
use hectare_paging::space::{AddressSpace, HugePages, MapRequest, Place, Settings, Signal};
use hectare_paging::table::TableFormat;
use hectare_testkit::op::noise;

use crate::machine::access;
use crate::processes::machine;

const PROCESSES: usize = 4;
const PAGES: u64 = 64;
const FRAMES: u64 = 160;
const FIRST: Page = Page::new(0x40);
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

/// Random reads and writes of several processes, forks among them, that use more pages than there are frames.
fn pressure<F: TableFormat, P: Policy>(policy: P, seed: u64) {
    let machine = machine(FRAMES);
    let window = PageRun::new(Page::new(16), 1 << 20).unwrap();
    let settings = Settings { huge: HugePages::Never, ..Settings::new(window) };
    let mut spaces: [Option<AddressSpace<F, _>>; PROCESSES] = core::array::from_fn(|_| {
        let mut space = AddressSpace::new(machine.kernel(), settings).unwrap();
        let request = MapRequest::anonymous(NonZero::new(PAGES).unwrap(), RW);
        space.map(request.at(Place::Fixed(FIRST))).unwrap();
        Some(space)
    });
    let mut contents = [[0_u64; PAGES as usize]; PROCESSES];
    let mut owners = vec![Owner::NOBODY; FRAMES as usize];
    let mut reclaimer = Reclaimer::new(policy, Frame::new(64), &mut owners);
    let (mut reclaimed, mut forks) = (0, 0);
    let bytes = noise(seed, 40_000);
    for (step, op) in bytes.chunks_exact(4).enumerate() {
        let (who, page) = (usize::from(op[0]) % PROCESSES, u64::from(op[1]) % PAGES);
        // Every process has a few pages that it uses more than the others.
        let page = if op[2] & 3 == 0 { page } else { page % 12 };
        if step % 700 == 699 {
            let child = (who + 1) % PROCESSES;
            if let Ok(space) = spaces[who].as_mut().unwrap().fork() {
                spaces[child].replace(space).unwrap().destroy();
                contents[child] = contents[who];
                forks += 1;
            }
        }
        let write = op[3] & 1 == 0;
        let kind = if write { Access::user_write() } else { Access::user_read() };
        let address = VirtAddr::new((FIRST.number() + page) << 12);
        let mut tries = 0;
        let place = loop {
            match access(spaces[who].as_mut().unwrap(), address, kind) {
                Ok((place, _)) => break place,
                Err(fault) => assert_eq!(fault.cause.signal(), Signal::OutOfMemory, "{fault}"),
            }
            tries += 1;
            assert!(tries < 5, "no frame was free after {tries} rounds");
            reclaimer.harvest(&mut spaces[..]).unwrap();
            reclaimed += reclaimer.reclaim(&mut spaces[..], 12).freed;
        };
        let value = &mut contents[who][page as usize];
        machine.bytes(place.split(PageSize::SIZE_4K).0, |bytes| {
            for end in [0, 4088] {
                let word: &mut [u8; 8] = (&mut bytes[end..end + 8]).try_into().unwrap();
                assert_eq!(u64::from_le_bytes(*word), *value, "step {step}: page {page} of process {who}");
                if write {
                    *word = (step as u64 + 1).to_le_bytes();
                }
            }
        });
        if write {
            *value = step as u64 + 1;
        }
        if step % 500 == 0 {
            spaces.iter().flatten().for_each(|space| space.check_invariants().unwrap());
        }
    }
    assert!(reclaimed > 500 && forks > 3, "{reclaimed} frames, {forks} forks");
    spaces.into_iter().flatten().for_each(AddressSpace::destroy);
    assert_eq!((machine.used().0, machine.slots(), machine.users()), (0, 0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn four_processes_share_fewer_frames_than_they_have_pages() {
    let places = FRAMES as usize;
    pressure::<X86_64<4>, _>(Clock::new(&mut vec![0; places]), 1);
    pressure::<X86_64<4>, _>(Fifo::new(&mut vec![Links::NONE; places]), 2);
    pressure::<X86_64<4>, _>(Aging::new(&mut vec![Age::default(); places]), 3);
    pressure::<X86_64<4>, _>(Lru::<2>::new(&mut vec![[0; 2]; places]), 4);
    pressure::<Sv39, _>(Clock::new(&mut vec![0; places]), 5);
}
