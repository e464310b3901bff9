//! Free blocks by order, and what follows from them.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{Order, Ratio};

/// How many free blocks there are of each order. A frame is counted once, in the largest block that has it.
///
/// ```
/// use hectare_buddy::{Banks, Engine, Rows64, words_for};
/// use hectare_core::{Frame, FrameRun, Order, Ratio};
/// # let run = FrameRun::new(Frame::new(0), 1024).expect("not empty");
/// # let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(run).expect("few")]);
/// # let mut banks = Banks::new(&mut table);
/// # banks.add(run)?;
/// # let mut frames = Engine::<Rows64>::new(banks, &mut words)?;
///
/// // `frames` has 1024, 4 MiB. One that is taken splits a block of each order, its buddies stay free.
/// frames.allocate_order(Order::ZERO)?;
/// let census = frames.census();
/// assert_eq!(census.capped(), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]); // what it prints: a line of /proc/buddyinfo
/// assert_eq!((census.frames(), census.largest()), (1023, Order::new(9)));
///
/// // For huge pages of 512 frames half of what is free is of no use; for single frames all of it is.
/// assert_eq!(census.unusable(512), Ratio::new(511, 1023));
/// assert_eq!(census.unusable(1), Ratio::new(0, 1));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census([u64; 64]);

impl Census {
    /// The orders that Linux shows in `/proc/buddyinfo`: 0 to `MAX_PAGE_ORDER`, include/linux/mmzone.h.
    pub const LINUX_ORDERS: usize = 11;

    pub(crate) const EMPTY: Self = Self([0; 64]);

    pub(crate) fn add(&mut self, order: usize, blocks: u64) {
        if let Some(count) = self.0.get_mut(order) {
            *count += blocks;
        }
    }

    /// How many free blocks of this order.
    #[must_use]
    pub fn blocks(&self, order: Order) -> u64 {
        self.0.get(usize::from(order.get())).copied().unwrap_or(0)
    }

    /// How many frames are free.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.iter().enumerate().map(|(order, blocks)| blocks << order).sum()
    }

    /// The order of the largest free block; `None` if nothing is free.
    #[must_use]
    pub fn largest(&self) -> Option<Order> {
        let order = self.0.iter().rposition(|blocks| *blocks != 0)?;
        u8::try_from(order).ok().and_then(Order::new)
    }

    /// The share of the free frames that a request for 2^k ≥ `frames` frames cannot use, because they lie in smaller
    /// blocks: Gorman and Whitcroft, Ottawa Linux Symposium 2007. 0 says that all is usable.
    #[must_use]
    pub fn unusable(&self, frames: u64) -> Ratio {
        let order = Order::holding(frames.max(1)).map_or(64, |order| usize::from(order.get()));
        let usable: u64 =
            (0..).zip(self.0).skip(order).map(|(order, blocks): (u32, u64)| blocks << order).sum();
        Ratio::new(self.frames() - usable, self.frames())
    }

    /// The counts of orders 0 to N − 1; larger blocks are counted as several of the last order, as Linux has them.
    #[must_use]
    pub fn capped<const N: usize>(&self) -> [u64; N] {
        let mut counts = [0; N];
        for (order, blocks) in self.0.iter().enumerate() {
            if let Some(last) = N.checked_sub(1) {
                let to = order.min(last);
                if let Some(count) = counts.get_mut(to) {
                    *count += blocks << (order - to);
                }
            }
        }
        counts
    }
}

impl fmt::Display for Census {
    /// The counts as a line of `/proc/buddyinfo` has them, orders 0 to 10.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.capped::<{ Self::LINUX_ORDERS }>().iter().try_for_each(|blocks| write!(f, "{blocks:6} "))
    }
}
