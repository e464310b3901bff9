#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod compact_plan;
#[cfg(test)]
extern crate std;

pub mod heap;
pub mod malloc;
pub mod movable;
pub mod policy;
pub mod policy_heap;
pub mod range;

pub use heap::{
    Bounded, BoundedHeap, Complete, FitHeap, GoodFit, Hardened, HardenedHeap, Heap, QuickLists, SmallHeap,
    StrictHeap,
};
pub use policy_heap::{
    BestFitHeap, FirstFitHeap, HalfFitHeap, LastFitHeap, NextFitHeap, PolicyHeap, WorstFitHeap,
};
