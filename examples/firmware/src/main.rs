//! Firmware on a microcontroller: a heap from a static arena, a pool of messages, and tasks that are kept apart. It
//! checks itself and says `test result: ok`.
#![no_std]
#![no_main]

mod arena;
mod heap;
mod pool;
#[cfg(feature = "protection")]
mod probes;
#[cfg(feature = "protection")]
mod tasks;

#[cfg(target_arch = "arm")]
mod cortex_m;
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
mod riscv;

#[cfg(target_arch = "arm")]
use cortex_m as machine;
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
use riscv as machine;

use core::fmt::Write;

use machine::Console;

/// Called by the machine's start code, with memory set up.
fn run() -> ! {
    let mut good = heap::init();
    let before = heap::used();
    good &= heap::run();
    good &= pool::run();
    #[cfg(feature = "protection")]
    {
        let mut protection = machine::protection::Protection::new();
        good &= tasks::run(&mut protection);
        good &= probes::run(protection);
    }
    good &= heap::used() == before;
    let _ = writeln!(Console, "test result: {}", if good { "ok" } else { "FAILED" });
    machine::exit(good)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "{info}\ntest result: FAILED");
    machine::exit(false)
}
