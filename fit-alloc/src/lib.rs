#![no_std]
#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod policy;
pub mod range;
