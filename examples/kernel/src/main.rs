//! A small kernel whose memory is managed by this family, on x86-64, AArch64 and RISC-V. It checks itself and says
//! `test result: ok`.
//!
//! ```text
//!   firmware ─► memory map ─► frames (buddy, shared) ─► heap (slabs, a front for each CPU) ─► Box, Vec, …
//!                               └─► page tables, address spaces
//!   all CPUs: the same frames, heap and tables at once; sums at the end
//! ```
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod check;
mod cpus;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod device_tree;
mod hammer;
mod memory;
mod paging;
mod random;

use core::fmt::Write;

use arch::Console;
use check::Checks;

/// Called on the first CPU, with a stack, and with what the firmware passed.
pub fn kernel(firmware: usize) -> ! {
    let mut checks = Checks::new();
    let map = arch::memory_map(firmware);
    let all = memory::init(&map);
    let _ = writeln!(Console, "{}: {} frames of 4 KiB", arch::NAME, all);
    checks.that(all > 1000, "there is memory");

    let started = cpus::start_all(firmware);
    let _ = writeln!(Console, "{started} CPUs");
    checks.that(started == cpus::CPUS, "all CPUs are there");

    hammer::frames(&mut checks);
    hammer::heap(&mut checks);
    paging::stages(&mut checks);

    if cfg!(hectare_plant = "kernel_leak") {
        core::mem::forget(core::hint::black_box(alloc::boxed::Box::new([0_u8; 5000])));
    }
    memory::all_back(&mut checks, all);
    checks.end()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "CPU {}: {info}\ntest result: FAILED", arch::cpu());
    arch::exit(false)
}
