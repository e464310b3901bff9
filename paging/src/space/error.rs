//! Why an operation on an address space was refused.
#![forbid(unsafe_code)]

use hectare_core::{AllocError, Page, PageRun};
use thiserror::Error;

use super::index::IndexError;
use super::{PagerError, TooManyUsers};
use crate::table::TableError;

/// A refused operation. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The pages lie outside the address space, or wrap.
    #[error("the pages lie outside the address space")]
    Range,
    /// No hole is long enough.
    #[error("no hole of the address space is long enough")]
    NoRoom,
    /// Something is mapped there, and may not be replaced.
    #[error("{pages:?} are mapped already")]
    Occupied {
        /// What was asked for.
        pages: PageRun,
    },
    /// Nothing is mapped at some page of a range that must be mapped throughout.
    #[error("nothing is mapped at {page:?}")]
    Hole {
        /// The first such page.
        page: Page,
    },
    /// The operation does not suit the area: advice for anonymous memory about a file, a device's pages to be swapped.
    #[error("the area at {page:?} does not allow that")]
    Unsuitable {
        /// A page of the area.
        page: Page,
    },
    /// There is no node for another area.
    #[error("no node for another area: {0}")]
    Nodes(AllocError),
    /// There is no frame.
    #[error("no frame: {0}")]
    Frames(AllocError),
    /// A frame has too many users for another.
    #[error(transparent)]
    Users(#[from] TooManyUsers),
    /// The pager refused.
    #[error(transparent)]
    Pager(#[from] PagerError),
    /// The tables refused.
    #[error(transparent)]
    Table(TableError),
}

impl From<TableError> for SpaceError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Frames(error) => Self::Frames(error),
            TableError::Range { .. } => Self::Range,
            other => Self::Table(other),
        }
    }
}

impl From<IndexError> for SpaceError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::NoNode(error) => Self::Nodes(error),
            // The address space looks for overlaps itself.
            IndexError::Overlap => Self::NoRoom,
        }
    }
}
