#![allow(
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    clippy::multiple_unsafe_ops_per_block,
    reason = "tests"
)]

use core::mem::MaybeUninit;
use std::vec::Vec;

use super::*;

fn objects(memory: &mut [MaybeUninit<[usize; 2]>]) -> Vec<Free> {
    let start = NonNull::from(&mut *memory).cast::<[usize; 2]>();
    let object = |index| {
        // SAFETY: in bounds.
        let place = unsafe { start.add(index) };
        // SAFETY: 16 bytes aligned to 8; each is made once.
        unsafe { Free::new(place.cast()) }
    };
    (0..memory.len()).map(object).collect()
}

#[test]
fn a_chain_is_a_stack() {
    let mut memory = [const { MaybeUninit::uninit() }; 5];
    let chain = Chain::EMPTY;
    let places: Vec<_> = objects(&mut memory)
        .into_iter()
        .map(|object| {
            let place = object.address();
            chain.push(object);
            place
        })
        .collect();
    let taken = chain.take();
    assert!(chain.is_empty() && chain.pop().is_none());
    for place in places.iter().rev() {
        assert_eq!(taken.pop().unwrap().address(), *place);
    }
    assert!(taken.is_empty());
}

#[test]
fn a_parcel_brings_every_object_once() {
    for (bytes, parcels) in
        [(8, [3, 2, 1]), (16, [1, 4, 2]), (24, [7, 1, 3]), (64, [20, 9, 8]), (128, [8, 17, 1])]
    {
        let count: usize = parcels.iter().sum();
        // As large as they say, so that Miri sees what is written beyond.
        let layout = core::alloc::Layout::from_size_align(bytes, 8).unwrap();
        let place = || {
            // SAFETY: not empty.
            NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap()
        };
        let places: Vec<_> = (0..count).map(|_| place()).collect();
        let (batch, mut first, mut posted) = (Batch::EMPTY, ptr::null_mut(), places.iter());
        for length in parcels {
            for place in posted.by_ref().take(length) {
                // SAFETY: `bytes` bytes, ours.
                unsafe { batch.push(Free::new(*place), bytes) };
            }
            let parcel = batch.take().unwrap();
            assert!(batch.take().is_none(), "nothing is left");
            parcel.attach(first);
            first = parcel.first();
        }
        let mut came = Vec::new();
        // SAFETY: given out by `first` above, everything attached.
        unsafe { Mail::from_first(first) }.deliver(|object| {
            // SAFETY: whoever has the object may write to all of it.
            unsafe { object.address().write_bytes(0xEE, bytes) };
            came.push(object.address());
        });
        came.sort_unstable();
        let mut all = places;
        all.sort_unstable();
        assert_eq!(came, all, "objects of {bytes} bytes");
        // SAFETY: allocated above with this layout.
        all.iter().for_each(|place| unsafe { std::alloc::dealloc(place.as_ptr(), layout) });
    }
}
