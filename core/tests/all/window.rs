//! `DirectMap`: shows exactly its range, and refuses every byte beyond the machine's memory.

use core::ptr::NonNull;

use hectare_core::{DirectMap, PhysAddr, PhysWindow};

use crate::arena::leaked;

fn map(first: u64, length: usize) -> (NonNull<u8>, Option<DirectMap>) {
    let start = NonNull::from(leaked(length)).cast::<u8>();
    // SAFETY: the bytes are leaked for this window.
    (start, unsafe { DirectMap::new(start, PhysAddr::new(first), length as u64) })
}

/// A model in 128-bit arithmetic says which bytes are shown.
#[test]
fn shows_its_range_and_nothing_else() {
    for first in [0, 0x1000, 0x8000_0000, u64::MAX - 64] {
        let (start, window) = map(first, 64);
        let window = window.unwrap();
        let borders = [0, 1, first, first.wrapping_sub(1), first + 1, first + 63, first + 64, u64::MAX];
        for address in borders {
            for length in [0, 1, 2, 63, 64, 65, u64::MAX] {
                let (from, to) = (u128::from(address), u128::from(address) + u128::from(length));
                let shown = u128::from(first) <= from && to <= u128::from(first) + 64;
                let pointer = window.pointer(PhysAddr::new(address), length);
                assert_eq!(pointer.is_some(), shown, "{length} at {address:#x} of {first:#x}");
                if let Some(pointer) = pointer {
                    assert_eq!(
                        pointer.addr().get() - start.addr().get(),
                        usize::try_from(address - first).unwrap()
                    );
                }
            }
        }
    }
}

/// A machine with 64 KiB of memory: an address beyond is refused, not wrapped or clamped.
#[test]
fn an_address_beyond_memory_is_refused() {
    let (_, window) = map(0, 0x1_0000);
    let window = window.unwrap();
    assert!(window.pointer(PhysAddr::new(0xffff), 1).is_some());
    assert_eq!(window.pointer(PhysAddr::new(0x1_0000), 1), None);
    assert_eq!(window.pointer(PhysAddr::new(0x5_0000), 0x1000), None);
    assert_eq!(window.pointer(PhysAddr::new(0xf001), 0x1000), None, "half inside");
    assert_eq!(window.pointer(PhysAddr::new(u64::MAX), 2), None, "wraps");
}

#[test]
fn a_range_that_wraps_is_no_window() {
    assert!(map(u64::MAX - 63, 64).1.is_none());
    // SAFETY: refused, so that no byte is ever shown.
    let wraps = unsafe { DirectMap::new(NonNull::dangling(), PhysAddr::new(0), u64::MAX) };
    assert!(wraps.is_none());
}

#[test]
fn what_is_written_is_there() {
    let (start, window) = map(0x4000, 4096);
    let window = &window.unwrap();
    let byte = window.pointer(PhysAddr::new(0x4123), 1).unwrap();
    // SAFETY: the window shows this byte.
    unsafe { byte.write(0x5a) };
    // SAFETY: in the arena.
    let seen = unsafe { start.add(0x123) };
    // SAFETY: written above.
    assert_eq!(unsafe { seen.read() }, 0x5a);
}
