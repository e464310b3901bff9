//! What the figures say: tables, advice, an HTML page.

mod advice;
pub(crate) mod html;
pub(crate) mod number;
mod overall;
mod policies;
mod table;

pub use advice::advice;
pub use html::{Chapter, Machine, heap_chapter, page};
pub use overall::{Overall, overall};
pub use table::table;
