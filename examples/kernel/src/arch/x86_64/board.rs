//! The serial port and the end of the machine.
use core::arch::asm;
use core::fmt::Write;

/// A byte to a port.
///
/// # Safety
/// The device takes it.
pub unsafe fn write_port(port: u16, value: u8) {
    // SAFETY: the caller's promise.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// The first serial port.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the transmit register of COM1, which QEMU always takes.
            unsafe { write_port(0x3F8, byte) };
        }
        Ok(())
    }
}

/// Ends QEMU with status 33 if all is good, else 35: `isa-debug-exit` makes (value << 1) | 1 of it.
pub fn exit(good: bool) -> ! {
    // SAFETY: the device ends the machine.
    unsafe { write_port(0xF4, if good { 0x10 } else { 0x11 }) };
    loop {
        core::hint::spin_loop();
    }
}
