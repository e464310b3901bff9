//! The checks of the hardened variant. Each ends the program, with a line that says why.
//!
//! | misuse | found |
//! |---|---|
//! | free of what is no block | at the free: the table says nothing |
//! | free inside a block | at the free: not a multiple of the class's size, or not a large block's start |
//! | second free of a small object | at the free: its mark |
//! | second free of a large block | at the free, until its place is used again |
//! | write to a freed object's first 16 bytes | when it is handed out again |
//! | read after free, write beyond the end | not found |
#![expect(unsafe_code, reason = "reads marks")]

use core::ptr::NonNull;

use super::PROCESS;
use super::heap::{Heap, mark_place, marked};
use super::span::span_of;
use super::system::System;
use crate::free::{Free, mark_of};
use crate::size_class::size_of_class;

/// Whether the table can be asked about this address.
pub(super) fn has_word(address: usize) -> bool {
    PROCESS.system.has_index(address)
}

pub(super) fn not_a_block() -> ! {
    PROCESS.system.misused("free of what is no block")
}

/// A block of this class is freed: is it one, and is it live? Marks it.
#[inline]
pub(super) fn check_block(block: NonNull<u8>, class: usize) {
    // SAFETY: the table says that it lies in a span.
    let span = unsafe { span_of(block) };
    let offset = block.as_ptr().addr() - span.base().as_ptr().addr();
    // At most two granules × 2^16, and sizes are below 2^16: a division of 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "spans are far below 4 GiB")]
    if offset as u32 % size_of_class(class) as u32 != 0 {
        PROCESS.system.misused("free inside a block");
    }
    // SAFETY: an object of at least 16 bytes, live or free: its second word was written.
    if unsafe { mark_place(block).read() } == mark_of(block) {
        PROCESS.system.misused("second free");
    }
    // SAFETY: 16 bytes, and given up by the caller of `free`.
    marked(&unsafe { Free::new(block) });
}

/// An object that is handed out: was it written to since it was freed? Takes its mark away.
#[inline]
pub(super) fn check_free(heap: &Heap, offset: usize, object: &Free) {
    let mark = mark_place(object.address());
    // SAFETY: a free object of at least 16 bytes, marked when it was freed or carved.
    let intact = unsafe { mark.read() } == mark_of(object.address());
    // SAFETY: `offset` is of the object's bin.
    let next = unsafe { heap.front(offset) }.addr();
    // SAFETY: the table can be asked.
    let word_of = |address| heap.offset_of(unsafe { PROCESS.map.word(&PROCESS.system, address) });
    let followed = next == 0 || has_word(next) && next % 8 == 0 && word_of(next) as usize == offset;
    if !(intact && followed) {
        PROCESS.system.misused("a freed block was written to");
    }
    // SAFETY: as above.
    unsafe { mark.write(0) };
}
