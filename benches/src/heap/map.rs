//! The heap map: where the live blocks lie as time goes by.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::shadow::Shadow;

/// Rows and most columns of the heap map. The columns span three times the peak, from the lowest block ever on.
pub(super) const MAP_ROWS: usize = 64;
const MAP_COLUMNS: usize = 384;

/// Where the live blocks lie over time: rows of time, columns of addresses, the share that is live in 255ths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Map {
    /// Bytes a column stands for.
    pub column_bytes: u64,
    /// Bytes from the beginning of the arena to the first column.
    pub first: u64,
    /// Columns in a row.
    pub columns: usize,
    /// Row after row, two hexadecimal digits a cell.
    pub cells: String,
}

/// The heap map of the whole arena.
pub(super) struct Picture {
    start: usize,
    column: usize,
    columns: usize,
    wanted: usize,
    rows: Vec<Vec<u8>>,
}

impl Picture {
    /// An empty one of an arena with this address and length, for a program with this peak.
    pub(super) fn new(start: usize, length: usize, peak_bytes: u64) -> Self {
        let column = (3 * peak_bytes / MAP_COLUMNS as u64).next_multiple_of(1024).max(1024) as usize;
        let wanted = (3 * peak_bytes as usize).div_ceil(column);
        Self { start, column, columns: length / column, wanted, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, shadow: &Shadow) {
        self.rows.push(shadow.density(self.start, self.column, self.columns));
    }

    /// The part that begins with the lowest block that ever lived.
    pub(super) fn crop(&self) -> Map {
        let lowest =
            self.rows.iter().filter_map(|row| row.iter().position(|&cell| cell > 0)).min().unwrap_or(0);
        let columns = self.wanted.min(self.columns - lowest.min(self.columns));
        let cells = self.rows.iter().flat_map(|row| &row[lowest..lowest + columns]);
        Map {
            column_bytes: self.column as u64,
            first: (lowest * self.column) as u64,
            columns,
            cells: cells.map(|cell| format!("{cell:02x}")).collect(),
        }
    }
}
