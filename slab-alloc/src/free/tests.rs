#![allow(clippy::std_instead_of_alloc, clippy::unwrap_used, reason = "tests")]

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
fn a_batch_is_attached_before_a_chain() {
    let mut memory = [const { MaybeUninit::uninit() }; 5];
    let (rest, batch) = (Chain::EMPTY, Batch::EMPTY);
    for (index, object) in objects(&mut memory).into_iter().enumerate() {
        if index < 2 { rest.push(object) } else { batch.push(object) }
    }
    let batch = batch.take();
    batch.attach(rest.into_first());
    // SAFETY: given up by `into_first`, and attached.
    let all = unsafe { Chain::from_first(batch.first().unwrap().as_ptr()) };
    assert_eq!(core::iter::from_fn(|| all.pop()).count(), 5);
}
