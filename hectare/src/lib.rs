#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]
#![cfg_attr(all(feature = "buddy", feature = "paging", feature = "slab"), doc = include_str!("../TOGETHER.md"))]
#![cfg_attr(all(feature = "buddy", feature = "slab"), doc = include_str!("../KERNEL.md"))]
#![cfg_attr(all(feature = "fit", feature = "critical-section-1"), doc = include_str!("../FIRMWARE.md"))]

#[cfg(feature = "buddy")]
pub use hectare_buddy as buddy;
pub use hectare_core::*;
#[cfg(feature = "fit")]
pub use hectare_fit as fit;
#[cfg(feature = "paging")]
pub use hectare_paging as paging;
#[cfg(feature = "segmentation")]
pub use hectare_segmentation as segmentation;
#[cfg(feature = "slab")]
pub use hectare_slab as slab;

// The example in the front page of the repository is compiled and run too; the published package has no such file.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
