//! What the compiler calls for blocks of memory: this target takes them from a C library, and there is none. And two
//! names that the library which came with the compiler wants: it was built to unwind.
use core::arch::asm;

/// Forwards if `backwards` is not.
unsafe fn copy(to: *mut u8, from: *const u8, count: usize, backwards: bool) {
    // esi is LLVM's own, so it is exchanged.
    // SAFETY: the caller's promise: both are valid for so many bytes; the direction flag is clear outside.
    unsafe {
        if backwards {
            asm!(
                "xchg esi, {from}", "std", "rep movsb", "cld", "mov esi, {from}",
                from = inout(reg) from.wrapping_add(count).wrapping_sub(1) => _,
                inout("ecx") count => _, inout("edi") to.wrapping_add(count).wrapping_sub(1) => _,
            );
        } else {
            asm!(
                "xchg esi, {from}", "rep movsb", "mov esi, {from}",
                from = inout(reg) from => _, inout("ecx") count => _, inout("edi") to => _,
            );
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { copy(to, from, count, false) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let behind = to.addr().wrapping_sub(from.addr()) < count;
    // SAFETY: the caller's promise; in the order that reads each byte before it is written.
    unsafe { copy(to, from, count, behind) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { asm!("rep stosb", inout("ecx") count => _, inout("edi") to => _, in("al") value as u8) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller's promise.
        let (one, other) = unsafe { (one.add(at).read_volatile(), other.add(at).read_volatile()) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("nothing unwinds")
}
