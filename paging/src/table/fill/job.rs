//! One mapping as numbers: what each level's leaves look like, and where the frames are.
#![forbid(unsafe_code)]

use hectare_core::{PageSize, PhysAddr};

use crate::format::MAX_LEVELS;
use crate::table::range::Part;
use crate::table::{MapOptions, TableError, TableFormat};
use crate::{Attributes, Entry};

/// One call: what each level's leaves look like, and where the frames are.
#[derive(Clone, Copy)]
pub(in crate::table) struct Job<F: TableFormat> {
    /// Physical minus linear address, wrapping: the same for every page of the run.
    distance: u64,
    /// The highest level at which leaves are written.
    pub(in crate::table) top: usize,
    /// The leaf of each level for physical address 0.
    zeroth: [F::Entry; MAX_LEVELS],
    attributes: Attributes,
    options: MapOptions,
}

impl<F: TableFormat> Job<F> {
    pub(in crate::table) fn new(
        part: Part,
        memory: PhysAddr,
        attributes: Attributes,
        options: MapOptions,
    ) -> Result<Self, TableError> {
        // The first and the last frame: what the format refuses, it refuses before anything is changed.
        let length = part.last - part.first;
        let last = memory.value().wrapping_add(length) & !F::PAGE.offset_mask();
        F::leaf(memory, attributes, options.touched, 0)?;
        F::leaf(last.into(), attributes, options.touched, 0)?;
        let distance = memory.value().wrapping_sub(part.first);
        let mut job = Self { distance, top: 0, zeroth: [F::Entry::ZERO; MAX_LEVELS], attributes, options };
        let largest = options.largest.map_or(63, PageSize::log2);
        for level in 0..F::LEVELS {
            let size = F::leaf_size(level);
            if level != 0 {
                let fits = F::has_leaves(level)
                    && size.log2() <= largest
                    && distance & size.offset_mask() == 0
                    && length >= size.offset_mask();
                if !fits {
                    break;
                }
            }
            match F::leaf(PhysAddr::new(0), attributes, options.touched, level) {
                Ok(entry) => job.zeroth[level] = entry,
                Err(_) if level != 0 => break,
                Err(error) => return Err(error.into()),
            }
            job.top = level;
        }
        Ok(job)
    }

    /// The leaf for the linear address `at`.
    #[inline(always)]
    pub(super) fn leaf(&self, at: u64, level: usize) -> F::Entry {
        let address = at.wrapping_add(self.distance);
        if F::LINEAR_BITS >= 64 {
            self.zeroth[level].plus(F::stride(level).times(address >> F::SHIFTS[level]))
        } else {
            // Checked by `new` for the ends, and every other address is between them.
            F::leaf(address.into(), self.attributes, self.options.touched, level).unwrap_or(F::Entry::ZERO)
        }
    }

    /// Whether groups of 2^`log2` leaves of this level are aligned in both spaces.
    #[inline(always)]
    pub(super) fn has_runs(&self, level: usize, log2: u8) -> bool {
        self.options.contiguous && self.distance & ((F::leaf_size(level).bytes() << log2) - 1) == 0
    }

    /// How many leaves from `at` on follow the stride.
    #[inline(always)]
    pub(super) fn linear_run(&self, at: u64, level: usize) -> usize {
        if F::LINEAR_BITS >= 64 {
            return usize::MAX;
        }
        let address = at.wrapping_add(self.distance);
        let left = (1_u64 << F::LINEAR_BITS) - (address & ((1 << F::LINEAR_BITS) - 1));
        usize::try_from(left >> F::SHIFTS[level]).unwrap_or(usize::MAX)
    }
}
