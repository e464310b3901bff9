//! Which CPU a thread is: a number of its own, as a kernel reads it from a register.

use core::cell::Cell;

use hectare_core::{CpuPin, Slot};

std::thread_local! {
    static CPU: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Makes this thread a CPU.
pub(crate) fn enter(cpu: usize) {
    CPU.set(u32::try_from(cpu).unwrap_or(u32::MAX));
}

/// Keeps the calling thread on the processor of this number, of those that the process may use; wherever it likes, if there
/// are fewer.
pub(crate) fn stay_on(number: usize) {
    // SAFETY: a set of processors is an array of integers, for which 0 is a value.
    let mut allowed: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set is a valid place for the result, of that size.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) } != 0 {
        return;
    }
    let in_set = |cpu: &usize| {
        // SAFETY: the number is below the size of a set.
        unsafe { libc::CPU_ISSET(*cpu, &allowed) }
    };
    let Some(cpu) = (0..libc::CPU_SETSIZE as usize).filter(in_set).nth(number) else { return };
    // SAFETY: as above.
    let mut own: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut own) };
    // SAFETY: the set is valid and of that size. If it fails, the thread stays where it is.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const own) };
}

/// The CPUs of an allocator under measurement: one thread each, which never stops in the middle for another. So it costs
/// what a kernel pays that runs with preemption off anyway: reading the number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadCpu {
    slots: u32,
}

impl ThreadCpu {
    /// So many CPUs.
    ///
    /// # Safety
    /// No two threads that use it [are](enter) the same CPU, and no closure under it comes back to it.
    #[must_use]
    pub(crate) unsafe fn new(slots: usize) -> Self {
        Self { slots: u32::try_from(slots).unwrap_or(0) }
    }
}

// SAFETY: (1) the number is the thread's alone, and is not entered twice (`new`); (2) a thread sees its own writes;
// (3) numbers from `slots` on are turned away.
unsafe impl CpuPin for ThreadCpu {
    fn slots(&self) -> u32 {
        self.slots
    }

    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let cpu = CPU.get();
        f(if cpu < self.slots { Some(Slot::new(cpu as u16)) } else { None })
    }

    /// Only the caller's own: nobody else can be stopped.
    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        self.with(|slot| slot.into_iter().for_each(drain));
    }
}
