//! Which heap is this thread's: one load through the thread pointer; how threads begin, end and fork.
//!
//! ```text
//!  thread pointer + offset ─► │ heap │ round │        heap: at first NO_HEAP, from which every path is slow
//! ```
//! Stable Rust has thread-locals of the standard library only, and those of a shared library cost a call. So the variable
//! is declared in assembly, in the *initial-exec* model: its offset is one load from a table that the dynamic linker has
//! filled, and a constant in a program of its own. A library that is opened later (`dlopen`) needs 16 bytes of the C
//! library's reserve for such variables.
//!
//! A thread ends in the destructor of a pthread key, which asks to be called again as often as the C library does that
//! (4 times): other keys' destructors come before it. What is allocated or freed even later borrows a heap for the call.
#![expect(unsafe_code, reason = "declares and reaches a thread-local variable; calls the C library")]

use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::hint;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::PROCESS;
use super::heap::{Heap, NO_HEAP};

macro_rules! variable {
    ($word:literal) => {
        global_asm!(
            ".pushsection .tdata.hectare_slab_heap,\"awT\",%progbits",
            ".balign 16",
            ".hidden hectare_slab_0_1_heap",
            ".globl hectare_slab_0_1_heap",
            ".type hectare_slab_0_1_heap, %object",
            ".size hectare_slab_0_1_heap, 16",
            "hectare_slab_0_1_heap:",
            concat!($word, " {none}"),
            concat!($word, " 0"),
            ".popsection",
            none = sym NO_HEAP,
        );
    };
}
#[cfg(target_arch = "x86_64")]
variable!(".quad");
#[cfg(target_arch = "aarch64")]
variable!(".xword");

/// The thread's variable. `heap` is a heap or [`NO_HEAP`].
#[repr(C)]
struct Variable {
    heap: *const Heap,
    round: usize,
}

/// Rounds of destructors that the C library makes, less the one that comes anyway.
const ROUNDS: usize = 3;
/// The thread has ended, as far as its heap is concerned.
const ENDED: usize = usize::MAX;

#[inline(always)]
fn variable() -> *mut Variable {
    let place: *mut Variable;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the variable's offset and the thread pointer, which is the first word of what it points to (x86-64
    // psABI, initial-exec model).
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + hectare_slab_0_1_heap@GOTTPOFF]",
            "add {0}, qword ptr fs:[0]",
            out(reg) place,
            options(pure, readonly, nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above (ELF for the Arm 64-bit architecture, initial-exec model).
    unsafe {
        asm!(
            "mrs {1}, tpidr_el0",
            "adrp {0}, :gottprel:hectare_slab_0_1_heap",
            "ldr {0}, [{0}, :gottprel_lo12:hectare_slab_0_1_heap]",
            "add {0}, {0}, {1}",
            out(reg) place,
            out(reg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    place
}

/// This thread's heap, or [`NO_HEAP`].
#[inline(always)]
pub(crate) fn current() -> &'static Heap {
    let heap: *const Heap;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `variable`; reads its first word.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + hectare_slab_0_1_heap@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) heap,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let place = variable();
        // SAFETY: this thread's variable.
        heap = unsafe { (*place).heap };
    }
    // SAFETY: a heap, which lives for ever, or `NO_HEAP`.
    unsafe { &*heap }
}

fn set_current(heap: &'static Heap) {
    let place = variable();
    // SAFETY: this thread's variable; nobody has a reference to it.
    unsafe { (*place).heap = heap };
}

fn round() -> usize {
    let place = variable();
    // SAFETY: this thread's variable.
    unsafe { (*place).round }
}

fn set_round(round: usize) {
    let place = variable();
    // SAFETY: this thread's variable; nobody has a reference to it.
    unsafe { (*place).round = round };
}

/// Runs `f` with a heap that is this thread's as long as it runs. `None`: there is no memory for one.
#[cold]
#[inline(never)]
pub(crate) fn with_heap<R>(f: impl FnOnce(&'static Heap) -> R) -> Option<R> {
    let heap = current();
    if !heap.is_none() {
        return Some(f(heap));
    }
    let heap = PROCESS.enter()?;
    if round() == ENDED {
        let result = f(heap);
        PROCESS.leave(heap);
        return Some(result);
    }
    set_current(heap);
    // From here on the C library may call us: this thread has a heap.
    if let Some(key) = key() {
        // SAFETY: the key was made below and is never deleted.
        unsafe { libc::pthread_setspecific(key, core::ptr::from_ref(heap).cast()) };
    }
    Some(f(heap))
}

/// What the key is while nobody has made it, and while somebody does.
const NO_KEY: u32 = u32::MAX;
const MAKING: u32 = u32::MAX - 1;
static KEY: AtomicU32 = AtomicU32::new(NO_KEY);

/// The key whose destructor ends a thread. Made once, together with the handlers of forks.
fn key() -> Option<libc::pthread_key_t> {
    loop {
        match KEY.load(Ordering::Acquire) {
            NO_KEY => {
                if KEY.compare_exchange(NO_KEY, MAKING, Ordering::Acquire, Ordering::Relaxed).is_err() {
                    continue;
                }
                // SAFETY: functions that live as long as the program (the library that holds them is not unloaded).
                unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
                let mut key = 0;
                // SAFETY: a valid place; a function as above.
                let made = unsafe { libc::pthread_key_create(&raw mut key, Some(end)) } == 0;
                KEY.store(if made { key } else { NO_KEY }, Ordering::Release);
                return made.then_some(key);
            }
            // This thread itself, called back by the C library, has a heap and does not come here; another one is quick.
            MAKING => hint::spin_loop(),
            key => return Some(key),
        }
    }
}

/// The thread ends.
unsafe extern "C" fn end(heap: *mut c_void) {
    let next = round() + 1;
    if next <= ROUNDS {
        if let Some(key) = key() {
            set_round(next);
            // SAFETY: as in `with_heap`; asks for another round.
            unsafe { libc::pthread_setspecific(key, heap) };
            return;
        }
    }
    set_round(ENDED);
    let heap = NonNull::new(heap.cast::<Heap>());
    set_current(NO_HEAP.get());
    if let Some(heap) = heap {
        // SAFETY: set in `with_heap`: this thread's heap, which lives for ever.
        PROCESS.leave(unsafe { heap.as_ref() });
    }
}

/// No other thread is inside the pool while the process is copied. Heaps of threads that the child does not have stay
/// with nobody: they may have been in the midst of something.
extern "C" fn before_fork() {
    PROCESS.pool.lock(&PROCESS.system);
}

extern "C" fn after_fork() {
    PROCESS.pool.unlock();
}
