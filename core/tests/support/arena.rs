//! Memory for a heap under test.

use core::mem::MaybeUninit;

/// `size` bytes that live as long as the program, aligned to 4096.
///
/// Leaked on purpose: a box that is moved while the heap holds pointers into it would be undefined behaviour. A static
/// remembers it, so that Miri does not call it lost.
pub fn leaked(size: usize) -> &'static mut [MaybeUninit<u8>] {
    #[repr(C, align(4096))]
    #[derive(Clone, Copy)]
    struct Page([MaybeUninit<u8>; 4096]);
    struct Kept(#[expect(dead_code, reason = "only remembered")] *mut Page);
    // SAFETY: the pointer is never used.
    unsafe impl Send for Kept {}
    static KEPT: std::sync::Mutex<Vec<Kept>> = std::sync::Mutex::new(Vec::new());

    let pages: &'static mut [Page] = vec![Page([MaybeUninit::uninit(); 4096]); size.div_ceil(4096)].leak();
    let bytes = size_of_val(pages);
    let start = pages.as_mut_ptr();
    if let Ok(mut kept) = KEPT.lock() {
        kept.push(Kept(start));
    }
    // SAFETY: the same bytes, as bytes; nobody else has them.
    let all = unsafe { core::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), bytes) };
    &mut all[..size]
}
