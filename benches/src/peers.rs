//! The peers, each behind [`Subject`](crate::subject::Subject) through its own interface for one owner: nobody pays
//! for a lock.

mod buddy_alloc;
mod buddy_system;
mod dlmalloc;
mod good_memory;
mod linked_list;
#[cfg(feature = "native-peers")]
mod native;
mod rlsf;
mod slab_allocator_rs;
mod system;
mod talc;

pub use buddy_alloc::BuddyAlloc;
pub use buddy_system::BuddySystem;
pub use dlmalloc::Dlmalloc;
pub use good_memory::GoodMemory;
pub use linked_list::LinkedList;
#[cfg(feature = "native-peers")]
pub use native::{Jemalloc, Mimalloc, Snmalloc};
pub use rlsf::Rlsf;
pub use slab_allocator_rs::SlabAllocatorRs;
pub use system::System;
pub use talc::Talc;
