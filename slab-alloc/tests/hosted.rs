//! A program whose `GlobalAlloc` is the hosted heap.
#![cfg(all(feature = "hosted", target_os = "linux", not(hectare_loom), not(miri)))]
#![allow(
    clippy::unwrap_used,
    clippy::std_instead_of_alloc,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;

use hectare_slab::hosted::{self, Hosted};

#[global_allocator]
static HEAP: Hosted = Hosted;

#[test]
fn blocks_are_aligned_as_asked_and_apart() {
    for align_log2 in 0..=22 {
        for size in [1, 8, 24, 100, 1000, 5000, 30_000, 70_000, 3 << 20] {
            let layout = Layout::from_size_align(size, 1 << align_log2).unwrap();
            // SAFETY: the size is not 0.
            let blocks = [0; 3].map(|_| unsafe { HEAP.alloc(layout) });
            for (index, block) in blocks.iter().enumerate() {
                assert!(!block.is_null() && block.addr() % layout.align() == 0, "{layout:?}");
                // SAFETY: live, of that size.
                unsafe { block.write_bytes(index as u8, size) };
                // SAFETY: live.
                assert!(unsafe { hosted::usable_size(*block) } >= size);
            }
            for (index, block) in blocks.into_iter().enumerate() {
                // SAFETY: live, of that size.
                let ends = unsafe { [block.read(), block.add(size - 1).read()] };
                assert_eq!(ends, [index as u8; 2]);
                // SAFETY: live, with this layout.
                unsafe { HEAP.dealloc(block, layout) };
            }
        }
    }
}

#[test]
fn resizing_keeps_contents_and_alignment() {
    for align in [1, 16, 64, 4096] {
        let mut layout = Layout::from_size_align(10, align).unwrap();
        // SAFETY: the size is not 0.
        let mut block = unsafe { HEAP.alloc_zeroed(layout) };
        let mut kept = 10;
        for size in [20, 300, 2000, 90_000, 200_000, 3 << 20, 9 << 20, 4 << 20, 100_000, 50, 7] {
            // SAFETY: live, of `kept` bytes at least.
            unsafe { block.write_bytes(5, kept) };
            // SAFETY: live, with this layout; the size is not 0.
            block = unsafe { HEAP.realloc(block, layout, size) };
            layout = Layout::from_size_align(size, align).unwrap();
            assert_eq!(block.addr() % align, 0);
            // SAFETY: live, so many bytes were written.
            let bytes = unsafe { core::slice::from_raw_parts(block, kept.min(size)) };
            assert!(bytes.iter().all(|byte| *byte == 5), "{size}");
            kept = size;
        }
        // SAFETY: live, with this layout.
        unsafe { HEAP.dealloc(block, layout) };
    }
}

#[test]
fn zeroed_blocks_are_zero_after_use() {
    for size in [10, 1000, 30_000, 100_000, 4 << 20] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        for _ in 0..4 {
            // SAFETY: the size is not 0.
            let block = unsafe { HEAP.alloc_zeroed(layout) };
            // SAFETY: live, of that size.
            let bytes = unsafe { core::slice::from_raw_parts_mut(block, size) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
            // SAFETY: live, with this layout.
            unsafe { HEAP.dealloc(block, layout) };
        }
    }
}

#[test]
fn threads_come_and_go_with_one_anothers_blocks() {
    for round in 0..20 {
        let (send, receive) = mpsc::channel::<Vec<String>>();
        let makers = (0..4).map(|maker| {
            let send = send.clone();
            thread::spawn(move || {
                for i in 0..50 {
                    send.send((0..100).map(|n| format!("{round} {maker} {i} {n}")).collect()).unwrap();
                }
            })
        });
        let makers: Vec<_> = makers.collect();
        drop(send);
        let mut seen = HashMap::new();
        for text in receive.iter().flatten() {
            *seen.entry(text.split(' ').nth(1).map(str::to_owned)).or_insert(0) += text.len();
        }
        assert_eq!(seen.len(), 4);
        makers.into_iter().for_each(|maker| maker.join().unwrap());
    }
}

/// Allocates and frees when its thread ends.
struct AtTheEnd(Option<mpsc::Sender<usize>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let texts: BTreeMap<usize, String> = (0..1000).map(|i| (i, "x".repeat(i % 90))).collect();
        if let Some(send) = self.0.take() {
            let _ = send.send(texts.values().map(String::len).sum());
        }
    }
}

thread_local! {
    static LAST: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
}

#[test]
fn destructors_of_a_thread_may_allocate() {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || LAST.with(|last| last.borrow_mut().0 = Some(send))).join().unwrap();
    assert_eq!(receive.recv().unwrap(), (0..1000).map(|i| i % 90).sum::<usize>());
}
