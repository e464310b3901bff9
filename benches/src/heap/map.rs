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

    /// The part that begins where most of the live memory lies over time: usually at the lowest block, but some
    /// allocators fill their arena from the top.
    pub(super) fn crop(&self) -> Map {
        let first = self.densest(self.wanted * 5 / 12);
        let columns = self.wanted.min(self.columns - first);
        let cells = self.rows.iter().flat_map(|row| &row[first..first + columns]);
        Map {
            column_bytes: self.column as u64,
            first: (first * self.column) as u64,
            columns,
            cells: cells.map(|cell| format!("{cell:02x}")).collect(),
        }
    }

    /// The first of `width` columns that hold most; of equals the lowest, but not below the first block.
    fn densest(&self, width: usize) -> usize {
        let mut sums = vec![0_u64; self.columns + 1];
        for row in &self.rows {
            row.iter().enumerate().for_each(|(column, &cell)| sums[column + 1] += u64::from(cell));
        }
        let lowest = sums.iter().skip(1).position(|&sum| sum > 0).unwrap_or(0);
        (1..=self.columns).for_each(|column| sums[column] += sums[column - 1]);
        let mass = |first: usize| sums[(first + width).min(self.columns)] - sums[first];
        (lowest..self.columns).fold(lowest, |best, first| if mass(first) > mass(best) { first } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_begins_at_the_first_block_unless_more_lies_above() {
        let mut picture = Picture::new(0, 100 << 10, 10 << 10);
        assert_eq!((picture.column, picture.columns, picture.wanted), (1024, 100, 30));
        let mut shadow = Shadow::default();
        shadow.insert(5 << 10, 3 << 10).unwrap();
        picture.add(&shadow);
        assert_eq!((picture.crop().first, picture.crop().columns), (5 << 10, 30));
        shadow.insert(90 << 10, 9 << 10).unwrap();
        picture.add(&shadow);
        let map = picture.crop();
        assert_eq!((map.first >> 10, map.columns, map.cells.len()), (87, 13, 2 * 2 * 13));
        assert!(map.cells.ends_with(&["000000", &"ff".repeat(9), "00"].concat()));
    }
}
