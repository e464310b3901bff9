//! Tasks that are kept apart by protection regions: some do their work, some touch what they must not.
//!
//! ```text
//!   code          read and execute, for all tasks
//!   task's 1 KiB  read and write, for this task: data from the start, the stack down from the end
//!   the rest      a fault: the task is ended and reported, the others go on
//! ```
extern crate alloc;

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::fmt::{self, Write};

use hectare_core::Extent;

use crate::machine::protection::{Protection, task_set};
use crate::machine::{Console, task};

/// A task's program: its memory and an argument in, a result out. Only the code's region and its memory are there.
pub type Entry = extern "C" fn(*mut u32, usize) -> usize;

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this result.
    Done(usize),
    /// It read or wrote at this address.
    DataFault(usize),
    /// It went where there is no code.
    FetchFault,
    Other,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => write!(f, "done, result {result}"),
            Self::DataFault(address) => write!(f, "ended: no right to its access at {address:#x}"),
            Self::FetchFault => f.write_str("ended: no code where it went"),
            Self::Other => f.write_str("ended: some other fault"),
        }
    }
}

const BYTES: usize = 1024;
/// The memories of two tasks, side by side.
const LAYOUT: Layout = match Layout::from_size_align(2 * BYTES, 2 * BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Fills its memory and adds it up.
extern "C" fn work(memory: *mut u32, count: usize) -> usize {
    for at in 0..count {
        // SAFETY: `count` words are less than the task's memory without its stack.
        unsafe { memory.wrapping_add(at).write_volatile(at as u32) };
    }
    // SAFETY: as above.
    (0..count).map(|at| unsafe { memory.wrapping_add(at).read_volatile() } as usize).sum()
}

extern "C" fn read(_: *mut u32, address: usize) -> usize {
    let word: *const u32 = core::ptr::with_exposed_provenance(address);
    // SAFETY: none: the protection unit is the judge.
    unsafe { word.read_volatile() as usize }
}

extern "C" fn write(_: *mut u32, address: usize) -> usize {
    let word: *mut u32 = core::ptr::with_exposed_provenance_mut(address);
    // SAFETY: none: the protection unit is the judge.
    unsafe { word.write_volatile(0x0BAD_0BAD) };
    0
}

extern "C" fn jump(_: *mut u32, address: usize) -> usize {
    // SAFETY: none: the protection unit is the judge.
    let target = unsafe { core::mem::transmute::<usize, extern "C" fn() -> usize>(address) };
    target()
}

unsafe extern "C" {
    static code_start: u8;
    static code_end: u8;
}

/// The kernel's: no task may have it.
static mut SECRET: u32 = 0x5EC2E7;

/// Whether each task ended as it had to.
pub fn run(protection: &mut Protection) -> bool {
    let (start, end) = ((&raw const code_start).addr() as u64, (&raw const code_end).addr() as u64);
    let Some(code) = Extent::new(start, end - start) else { return false };
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(LAYOUT) };
    if memory.is_null() {
        return false;
    }
    let mine = memory.expose_provenance();
    let other = mine + BYTES;
    let secret = (&raw mut SECRET).expose_provenance();
    let thumb = usize::from(cfg!(target_arch = "arm"));
    let program = work as Entry as usize & !thumb;
    let cases: [(&str, Entry, usize, Ending); 9] = [
        ("worker", work, 100, Ending::Done(4950)),
        ("reader of its own memory", read, mine + 8, Ending::Done(2)),
        ("reader of the other's memory", read, other, Ending::DataFault(other)),
        ("writer to the other's memory", write, other + BYTES - 4, Ending::DataFault(other + BYTES - 4)),
        ("reader of the kernel's memory", read, secret, Ending::DataFault(secret)),
        ("writer to the kernel's memory", write, secret, Ending::DataFault(secret)),
        ("writer to the code", write, program, Ending::DataFault(program)),
        ("jumper into its data", jump, mine | thumb, Ending::FetchFault),
        ("worker after all of them", work, 100, Ending::Done(4950)),
    ];
    let mut good = true;
    for (name, entry, argument, expected) in cases {
        let length = if cfg!(hectare_plant = "firmware_wide_region") { 2 * BYTES } else { BYTES };
        let set = Extent::new(mine as u64, length as u64).and_then(|memory| task_set(code, memory));
        let Some(set) = set else { return false };
        let changes = protection.switch(&set);
        // SAFETY: a task gets its own memory and the code; what it must not touch is not in its regions.
        let ending = unsafe { task::run(entry, memory.cast(), argument, mine + BYTES) };
        let verdict = if ending == expected { "as it must" } else { "WRONG" };
        good &= ending == expected;
        let _ = writeln!(Console, "task {name}: {ending} ({verdict}; {changes} regions written)");
    }
    // SAFETY: reading the kernel's own static, which no task could change.
    good &= unsafe { (&raw const SECRET).read_volatile() } == 0x5EC2E7;
    // SAFETY: allocated above with this layout; the tasks have ended.
    unsafe { dealloc(memory, LAYOUT) };
    good
}
