//! Page tables of every format that the machine has, changed at random while its MMU uses them. After each change the
//! MMU is asked, by loads, stores and jumps, and must answer as a model does.
//!
//! ```text
//!   physical    image │ frames for tables │ frames to be mapped, two of the format's large leaves
//!   virtual     the same at its own address, by the largest leaves;   …   the window: three tables of level 0,
//!                                                                         across a border of the root's entries
//!   two tables  ──► random operations ──► what they owe: real instructions ──► accesses ◄── model
//! ```
#![no_std]
#![no_main]

mod arch;
#[path = "../../kernel/src/check.rs"]
mod check;
mod live;
mod memory;
mod model;
mod operate;
mod operation;
mod probe;
#[path = "../../kernel/src/random.rs"]
mod random;
mod tlb;

use core::fmt::Write;

use arch::Console;
use check::Checks;

/// Called once, with a stack.
pub fn program() -> ! {
    let mut checks = Checks::new();
    arch::formats(&mut checks);
    checks.end()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "{info}\ntest result: FAILED");
    arch::exit(false)
}
