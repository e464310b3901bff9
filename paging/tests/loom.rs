//! The counts of users of frames under loom, which runs every interleaving and every allowed outcome of weak memory.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-paging --test loom`. A frame is loom's cell: who reads
//! or writes it without what others did before is reported. The planted faults (`refs_relaxed`, `refs_share_relaxed`,
//! `refs_share_plain`) must make it fail.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use hectare_core::sync::atomic::AtomicU32;
use hectare_core::{Frame, FrameRun, Locked, SpinLock};
use hectare_paging::space::{FrameRefs, RefTable};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

const FRAME: Frame = Frame::new(7);

/// One frame, its count, and how often somebody was the last.
struct Machine {
    counts: Vec<AtomicU32>,
    bytes: UnsafeCell<u32>,
    lasts: AtomicUsize,
}

impl Machine {
    /// A frame with so many users.
    fn new(users: u32) -> Arc<Self> {
        let counts = vec![AtomicU32::new(users)];
        Arc::new(Self { counts, bytes: UnsafeCell::new(1), lasts: AtomicUsize::new(0) })
    }

    fn refs(&self) -> RefTable<'_> {
        RefTable::new(FRAME, &self.counts)
    }

    fn run() -> FrameRun {
        FrameRun::new(FRAME, 1).unwrap()
    }

    /// Reads the frame as a user.
    fn read(&self) -> u32 {
        // SAFETY: loom checks it.
        self.bytes.with(|bytes| unsafe { *bytes })
    }

    /// Gives a use up; the last user writes to the frame, as its next owner will.
    fn release(&self) {
        if self.refs().release(FRAME) {
            self.lasts.fetch_add(1, Ordering::Relaxed);
            // SAFETY: loom checks it.
            self.bytes.with_mut(|bytes| unsafe { *bytes = 99 });
        }
    }

    /// A write fault of one of those who share the frame: its contents afterwards, as the writer sees them.
    fn write_fault(&self, value: u32) -> u32 {
        if self.refs().is_sole(FRAME) {
            self.lasts.fetch_add(1, Ordering::Relaxed);
            // SAFETY: loom checks it.
            return self.bytes.with_mut(|bytes| unsafe {
                *bytes += value;
                *bytes
            });
        }
        let copy = self.read();
        self.release();
        copy + value
    }
}

// SAFETY: loom's cell reports unordered accesses.
unsafe impl Send for Machine {}
// SAFETY: as above.
unsafe impl Sync for Machine {}

#[test]
fn a_two_processes_write_to_one_frame_and_neither_sees_the_other() {
    loom::model(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let child = thread::spawn(move || other.write_fault(10));
        let parent = machine.write_fault(20);
        assert_eq!((parent, child.join().unwrap()), (21, 11));
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1, "one took the frame over, or gave it back");
    });
}

#[test]
fn b_the_last_of_three_sees_what_the_first_did() {
    loom::model(|| {
        let machine = Machine::new(2);
        let (one, two) = (Arc::clone(&machine), Arc::clone(&machine));
        let first = thread::spawn(move || {
            one.read();
            one.release();
        });
        machine.refs().share(Machine::run()).unwrap();
        let third = thread::spawn(move || {
            two.read();
            two.release();
        });
        machine.release();
        first.join().unwrap();
        third.join().unwrap();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn c_two_forks_at_one_time_are_both_counted() {
    loom::model(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let fork = |machine: &Machine| {
            machine.refs().share(Machine::run()).unwrap();
            machine.release();
            machine.release();
        };
        let child = thread::spawn(move || fork(&other));
        fork(&machine);
        child.join().unwrap();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn d_two_cpus_join_a_pager_s_frame() {
    loom::model(|| {
        let machine = Machine::new(1);
        let other = Arc::clone(&machine);
        let join = |machine: &Machine| {
            machine.refs().join(Machine::run()).unwrap();
            assert!(!machine.refs().is_sole(FRAME), "the pager has it too");
            machine.read();
            machine.release();
        };
        let child = thread::spawn(move || join(&other));
        join(&machine);
        child.join().unwrap();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 0);
        machine.release();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn e_a_write_meets_an_exit() {
    loom::model(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let exit = thread::spawn(move || {
            assert_eq!(other.read(), 1, "nobody writes to what is shared");
            other.release();
        });
        assert_eq!(machine.write_fault(20), 21);
        exit.join().unwrap();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1, "taken over, or given back, once");
    });
}

#[test]
fn f_a_write_meets_a_fork_of_the_other_process() {
    loom::model(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let parent = thread::spawn(move || {
            other.refs().share(Machine::run()).unwrap();
            other.read();
            // The parent ends, then its child.
            other.release();
            assert_eq!(other.read(), 1, "the child's contents are those of the fork");
            other.release();
        });
        assert_eq!(machine.write_fault(20), 21);
        parent.join().unwrap();
        assert_eq!(machine.lasts.load(Ordering::Relaxed), 1);
    });
}

/// What the entry of a page says in one address space.
struct Space {
    writable: bool,
    /// What the page's own frame holds, if it was copied.
    copy: Option<u32>,
    faults: u32,
}

#[test]
fn g_two_cpus_fault_on_one_page_while_its_other_user_ends() {
    loom::model(|| {
        let machine = Machine::new(2);
        let space = Space { writable: false, copy: None, faults: 0 };
        let space = Arc::new(Locked::with_lock(SpinLock::new(), space));
        let fault = |machine: &Machine, space: &Locked<SpinLock, Space>| {
            space
                .with(|space| {
                    if !space.writable {
                        space.faults += 1;
                        space.writable = true;
                        if !machine.refs().is_sole(FRAME) {
                            space.copy = Some(machine.read());
                            machine.release();
                        }
                    }
                    // Whoever comes second finds the page there, and writes to it.
                    match &mut space.copy {
                        Some(copy) => *copy += 10,
                        // SAFETY: loom checks it.
                        None => machine.bytes.with_mut(|bytes| unsafe { *bytes += 10 }),
                    }
                })
                .unwrap();
        };
        let (one, there) = (Arc::clone(&machine), Arc::clone(&space));
        let cpu = thread::spawn(move || fault(&one, &there));
        let two = Arc::clone(&machine);
        let exit = thread::spawn(move || {
            assert_eq!(two.read(), 1);
            two.release();
        });
        fault(&machine, &space);
        cpu.join().unwrap();
        exit.join().unwrap();
        let (faults, copy) = space.with(|space| (space.faults, space.copy)).unwrap();
        assert_eq!(faults, 1, "one of the two decided");
        assert_eq!(copy.unwrap_or_else(|| machine.read()), 21);
        let given_back = machine.lasts.load(Ordering::Relaxed);
        assert_eq!(given_back, usize::from(copy.is_some()), "a frame that was copied went back once");
    });
}
