//! `Locked` and the CPU identities.

use core::cell::RefCell;
use core::num::NonZero;

use hectare_core::{
    AllocError, CpuPin, Frame, FrameRequest, FrameRun, FrameSource, FreeError, Locked, NoCpu, NoLock,
    PageSize, Reentered, SharedFrameSource, SingleCpu, Slot,
};

/// Frames 0 to 7, handed out upwards and never again. Nothing writes to them in this test.
struct Eight(u64);

// SAFETY: (1) no memory is behind the frames, and the test writes to none; (2), (3) counted upwards; (4) no safe method
// takes frames back; (5) refused.
unsafe impl FrameSource for Eight {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let run = FrameRun::new(Frame::new(self.0), request.count.get()).ok_or(AllocError::TooLarge)?;
        if run.end().number() > 8 {
            return Err(AllocError::OutOfMemory);
        }
        self.0 = run.end().number();
        Ok(run)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        if run.end().number() > 8 { Err(FreeError::Foreign) } else { Ok(()) }
    }
}

#[test]
fn a_locked_source_is_shared_and_refuses_reentry() {
    let shared: Locked<NoLock, Eight> = Locked::new(Eight(0));
    let five = FrameRequest::exactly(NonZero::new(5).unwrap());
    let run = shared.allocate_frames(five).unwrap();
    assert_eq!(Ok(run), FrameRun::new(Frame::new(0), 5).ok_or(()));
    assert_eq!(shared.allocate_frames(five), Err(AllocError::OutOfMemory));
    // A reference to a shared source is a source.
    let mut source = &shared;
    assert_eq!(FrameSource::allocate_frames(&mut source, five), Err(AllocError::OutOfMemory));
    // SAFETY: from this source, used by nobody.
    assert_eq!(unsafe { shared.free_frames(run) }, Ok(()));
    // SAFETY: not from this source: it refuses.
    let foreign = unsafe { shared.free_frames(FrameRun::new(Frame::new(7), 2).unwrap()) };
    assert_eq!(foreign, Err(FreeError::Foreign));
    let inside = shared.with(|_| {
        // SAFETY: refused before anything happens.
        let free = unsafe { shared.free_frames(run) };
        (shared.allocate_frames(five), free)
    });
    assert_eq!(inside, Ok((Err(AllocError::Reentered(Reentered)), Err(FreeError::Reentered(Reentered)))));
}

#[test]
fn a_single_cpu_gives_its_slot_once_at_a_time() {
    let cpu = SingleCpu::new();
    let seen = cpu.with(|outer| cpu.with(|inner| (outer, inner)));
    assert_eq!(seen, (Some(Slot::new(0)), None));
    assert_eq!(cpu.with(|slot| slot), Some(Slot::new(0)), "free again");
    let panicked = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| cpu.with(|_| panic!("inside"))));
    assert!(panicked.is_err());
    assert_eq!(cpu.with(|slot| slot.map(Slot::number)), Some(0), "free after a panic");
    assert_eq!((cpu.slots(), NoCpu.slots(), NoCpu.with(|slot| slot)), (1, 0, None));
}

#[test]
fn a_drain_gets_only_free_slots() {
    static DRAINED: std::sync::Mutex<RefCell<Vec<u16>>> = std::sync::Mutex::new(RefCell::new(Vec::new()));
    let drain = |slot: Slot| DRAINED.lock().unwrap().borrow_mut().push(slot.number());
    let cpu = SingleCpu::new();
    NoCpu.request_drain(&drain);
    cpu.with(|_| cpu.request_drain(&drain));
    assert!(DRAINED.lock().unwrap().borrow().is_empty());
    cpu.request_drain(&drain);
    assert_eq!(*DRAINED.lock().unwrap().borrow(), [0]);
}
