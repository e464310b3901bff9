//! Protection regions on a machine: many sets of regions are written to the registers, and memory around them is
//! probed as a program would touch it. Every probe must fault or not as the model says.
//!
//! ```text
//!   for each set:  cover or fit a range ─► registers (leaf) ─► unprivileged load and store every 32 bytes
//!                          └──────────────► model ────────────► the same answer, or the run fails
//! ```
use core::fmt::Write;

use crate::machine::Console;
use crate::machine::protection::{self, Protection};

/// The memory that programs may or may not touch. Nothing else is in it.
const POOL: usize = 16384;

#[repr(align(16384))]
#[expect(dead_code, reason = "touched by probes only")]
struct Pool([u8; POOL]);

static mut POOL_BYTES: Pool = Pool([0; POOL]);

/// Whether every probe did what the model says.
pub fn run(mut protection: Protection) -> bool {
    let pool = (&raw mut POOL_BYTES).expose_provenance() as u64;
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % below
    };
    let (mut probes, mut faults, mut mismatches) = (0_u32, 0_u32, 0_u32);
    for _ in 0..64 {
        let start = pool + 0x1000 + 32 * next(128);
        let length = 32 * (1 + next(96));
        let read_only = next(2) == 0;
        protection.set(start, length, read_only);
        for address in (pool..pool + POOL as u64).step_by(32) {
            for write in [false, true] {
                // The last byte of each 32 in every other round: both edges of every granule are touched.
                let address = address + if next(2) == 0 { 31 } else { 0 };
                protection.refresh();
                let faulted = protection::probe(address as usize, write);
                let permitted = protection.permits(address, write);
                probes += 1;
                faults += u32::from(faulted);
                if faulted == permitted {
                    mismatches += 1;
                    if mismatches < 5 {
                        let _ = writeln!(
                            Console,
                            "{address:#x} write {write}: fault {faulted}, model permits {permitted}"
                        );
                    }
                }
            }
        }
    }
    let _ = writeln!(Console, "probes: {probes}, {faults} faults, {mismatches} mismatches");
    // Both outcomes must have been seen, or the probes prove nothing.
    mismatches == 0 && faults > probes / 4 && faults < probes
}
