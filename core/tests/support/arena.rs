//! Memory for a heap under test.

use core::mem::MaybeUninit;

/// `size` bytes that live as long as the program, aligned to 4096.
///
/// Leaked on purpose: a box that is moved while the heap holds pointers into it would be undefined behaviour.
pub fn leaked(size: usize) -> &'static mut [MaybeUninit<u8>] {
    #[repr(C, align(4096))]
    #[derive(Clone, Copy)]
    struct Page([MaybeUninit<u8>; 4096]);
    let pages: &'static mut [Page] = vec![Page([MaybeUninit::uninit(); 4096]); size.div_ceil(4096)].leak();
    let bytes = size_of_val(pages);
    // SAFETY: the same bytes, as bytes; nobody else has them.
    let all = unsafe { core::slice::from_raw_parts_mut(pages.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes) };
    &mut all[..size]
}
