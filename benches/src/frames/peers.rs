//! The peers, each behind [`Subject`](super::Subject) through its own interface for one owner: nobody pays for a lock.

mod bitmap;
mod buddy_alloc;
mod buddy_slab;
mod buddy_system;
mod free_list;
mod offset;

pub use bitmap::Bitmap;
pub use buddy_alloc::BuddyAlloc;
pub use buddy_slab::BuddySlab;
pub use buddy_system::{BuddySystemFrames, BuddySystemHeap};
pub use free_list::FreeList;
pub use offset::Offset;
