#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod compact_plan;
pub mod policy;
pub mod range;
