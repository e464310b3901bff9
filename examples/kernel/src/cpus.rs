//! The machine's CPUs: who I am, how the others are started, and work for all of them at once.
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use hectare_core::{CpuPin, RawLock, Reentered, Slot};

use crate::arch;

/// As many as QEMU is told to have.
pub const CPUS: usize = 4;

/// A slot for each CPU. Nothing preempts this kernel, and its interrupt handlers take no memory: a slot is ours until the
/// closure returns; whoever comes back in between takes the shared path.
pub struct Pin {
    busy: [Busy; CPUS],
}

#[repr(align(64))]
struct Busy(AtomicBool);

impl Pin {
    pub const fn new() -> Self {
        Self { busy: [const { Busy(AtomicBool::new(false)) }; CPUS] }
    }
}

// SAFETY: (1) a CPU has one number, below `CPUS`, and only it uses the flag of that number; (2) the flag turns nested
// calls away; (3) a CPU sees its own writes.
unsafe impl CpuPin for Pin {
    fn slots(&self) -> u32 {
        CPUS as u32
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        let cpu = arch::cpu();
        // The planted fault gives one slot to two CPUs.
        let slot = if cfg!(hectare_plant = "kernel_shared_slot") { cpu & !1 } else { cpu };
        match self.busy.get(cpu) {
            Some(Busy(busy)) if !busy.load(Ordering::Relaxed) => {
                busy.store(true, Ordering::Relaxed);
                let result = f(Some(Slot::new(slot as u16)));
                busy.store(false, Ordering::Relaxed);
                result
            }
            _ => f(None),
        }
    }
}

/// A spin lock whose waiters let other CPUs run, where one thread of the host runs them all in turns.
#[derive(Debug)]
pub struct Lock(AtomicBool);

impl Lock {
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }
}

// SAFETY: (1) one exchange from false to true succeeds until the store of false; (2) a nested call waits for ever; (3) the
// acquire of the exchange pairs with the release of the store.
unsafe impl RawLock for Lock {
    const UNLOCKED: Self = Self::new();

    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
        while self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            arch::relax();
        }
        let result = f();
        self.0.store(false, Ordering::Release);
        Ok(result)
    }
}

/// How many have arrived at the end of their start.
static ONLINE: AtomicUsize = AtomicUsize::new(1);
/// The work: a function, how often there was some, how many are ready for it, how many have done it.
static WORK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// What `on_all_with` passes.
static ARGUMENT: AtomicU64 = AtomicU64::new(0);
static ROUND: AtomicUsize = AtomicUsize::new(0);
static READY: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);

/// Starts the other CPUs one after the other. Returns how many there are.
pub fn start_all(firmware: usize) -> usize {
    for cpu in 1..CPUS {
        if !arch::start_cpu(firmware, cpu) {
            break;
        }
        // A CPU that does not come is not waited for longer than some seconds.
        let mut patience = 1_u64 << 28;
        while ONLINE.load(Ordering::Acquire) <= cpu && patience > 0 {
            arch::relax();
            patience -= 1;
        }
        if patience == 0 {
            break;
        }
    }
    ONLINE.load(Ordering::Acquire)
}

/// Called on each other CPU, with a stack: waits for work for ever.
pub fn serve() -> ! {
    ONLINE.fetch_add(1, Ordering::Release);
    let mut round = 0;
    loop {
        arch::idle(|| ROUND.load(Ordering::Acquire) != round);
        round += 1;
        // SAFETY: `on_all` stored a function of this type before the round began.
        let work = unsafe { core::mem::transmute::<*mut (), fn(usize)>(WORK.load(Ordering::Relaxed)) };
        assemble();
        work(arch::cpu());
        DONE.fetch_add(1, Ordering::Release);
    }
}

/// Waits until all are here, so that they do work at the same time.
fn assemble() {
    READY.fetch_add(1, Ordering::Relaxed);
    while READY.load(Ordering::Relaxed) < online() {
        arch::relax();
    }
}

/// Runs `work` on every CPU with its number, on this one too. Returns when all have done it.
pub fn on_all(work: fn(usize)) {
    WORK.store(work as *mut (), Ordering::Relaxed);
    DONE.store(0, Ordering::Relaxed);
    READY.store(0, Ordering::Relaxed);
    ROUND.fetch_add(1, Ordering::Release);
    arch::wake_all();
    assemble();
    work(arch::cpu());
    let others = ONLINE.load(Ordering::Relaxed) - 1;
    while DONE.load(Ordering::Acquire) < others {
        arch::relax();
    }
}

/// As `on_all`, with this number instead of the CPU's.
pub fn on_all_with(argument: u64, work: fn(u64)) {
    static INNER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
    ARGUMENT.store(argument, Ordering::Relaxed);
    INNER.store(work as *mut (), Ordering::Relaxed);
    on_all(|_| {
        // SAFETY: stored above, a function of this type, before the round began.
        let work = unsafe { core::mem::transmute::<*mut (), fn(u64)>(INNER.load(Ordering::Relaxed)) };
        work(ARGUMENT.load(Ordering::Relaxed));
    });
}

/// How many CPUs run.
pub fn online() -> usize {
    ONLINE.load(Ordering::Acquire)
}
