//! The local interrupt controller: messages from CPU to CPU.
use core::arch::asm;

use super::board::write_port;
use crate::cpus;

const BASE: usize = 0xFEE0_0000;
const END_OF_INTERRUPT: usize = 0xB0;
const SPURIOUS: usize = 0xF0;
const COMMAND: usize = 0x300;
const TARGET: usize = 0x310;
const PENDING: u32 = 1 << 12;

/// Switches this CPU's controller and interrupts on, and the old controller off, which the firmware left on.
///
/// # Safety
/// The interrupt table is loaded.
pub unsafe fn enable() {
    for port in [0x21, 0xA1] {
        // SAFETY: the mask registers of the two 8259.
        unsafe { write_port(port, 0xFF) };
    }
    write(SPURIOUS, 0x1FF);
    // SAFETY: the caller's promise.
    unsafe { asm!("sti", options(nomem, nostack)) };
}

/// INIT, then SIPI with the page where the CPU begins; again until it is there, since one that comes before the INIT was
/// dealt with is lost.
pub fn start(cpu: u32, page: u8) {
    send(cpu, 0x4500);
    for _ in 0..1000 {
        wait();
        if cpus::online() > cpu as usize {
            return;
        }
        send(cpu, 0x4600 | u32::from(page));
    }
}

/// Raises an interrupt on all other CPUs.
pub fn interrupt_others(vector: u8) {
    send(0, 0xC_4000 | u32::from(vector));
}

pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

fn send(cpu: u32, command: u32) {
    write(TARGET, cpu << 24);
    write(COMMAND, command);
    while read(COMMAND) & PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// The 10 ms that a CPU may need after INIT, generously.
fn wait() {
    for _ in 0..200_000 {
        core::hint::spin_loop();
    }
}

fn write(register: usize, value: u32) {
    let register: *mut u32 = core::ptr::with_exposed_provenance_mut(BASE + register);
    // SAFETY: the registers of this CPU's controller.
    unsafe { register.write_volatile(value) };
}

fn read(register: usize) -> u32 {
    let register: *const u32 = core::ptr::with_exposed_provenance(BASE + register);
    // SAFETY: as above; reading the command register has no effect.
    unsafe { register.read_volatile() }
}
