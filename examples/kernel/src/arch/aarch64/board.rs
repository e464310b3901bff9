//! The serial port and the end of the machine.
use core::arch::asm;
use core::fmt::Write;

/// The board's serial port.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let port: *mut u32 = core::ptr::with_exposed_provenance_mut(0x0900_0000);
        for byte in text.bytes() {
            // SAFETY: the PL011's data register.
            unsafe { port.write_volatile(byte.into()) };
        }
        Ok(())
    }
}

pub fn exit(good: bool) -> ! {
    let arguments = [0x2_0026_u64, u64::from(!good)];
    // SAFETY: semihosting's SYS_EXIT ends QEMU with this status.
    unsafe { asm!("hlt #0xf000", in("x0") 0x18_u64, in("x1") &raw const arguments) };
    loop {}
}
