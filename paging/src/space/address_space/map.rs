//! New areas.
#![forbid(unsafe_code)]

use core::num::NonZero;

use hectare_core::{Order, Page, PageRun, Permissions};

use super::{AddressSpace, Settings};
use crate::space::index::{Direction, GapRequest};
use crate::space::{Area, AreaFlags, Backing, Kernel, SpaceError};
use crate::table::TableFormat;

/// Where a new area should lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Wherever there is room.
    Anywhere,
    /// Here if it is free and not in the guard below a stack, else anywhere.
    Hint(Page),
    /// Here; what is mapped here goes (`MAP_FIXED`).
    Fixed(Page),
    /// Here or not at all (`MAP_FIXED_NOREPLACE`).
    NoReplace(Page),
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// How many pages.
    pub count: NonZero<u64>,
    /// Where.
    pub place: Place,
    /// What may be done there. `USER` is added: the areas are a program's.
    pub permissions: Permissions,
    /// What lies behind it. Shared anonymous memory is an object of the pager's.
    pub backing: Backing,
    /// Shared, growing down, huge pages.
    pub flags: AreaFlags,
    /// A place that is chosen begins at a multiple of 2^k pages.
    pub align: Order,
}

impl MapRequest {
    /// Private anonymous memory anywhere.
    #[must_use]
    pub const fn anonymous(count: NonZero<u64>, permissions: Permissions) -> Self {
        Self {
            count,
            place: Place::Anywhere,
            permissions,
            backing: Backing::Anonymous,
            flags: AreaFlags::empty(),
            align: Order::ZERO,
        }
    }

    /// The same at this place.
    #[must_use]
    pub const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The same over this backing.
    #[must_use]
    pub const fn over(self, backing: Backing) -> Self {
        Self { backing, ..self }
    }

    /// The same with these flags.
    #[must_use]
    pub const fn with(self, flags: AreaFlags) -> Self {
        Self { flags, ..self }
    }
}

/// Flags that a program may choose; the others are found out.
const CHOSEN: AreaFlags = AreaFlags::SHARED
    .union(AreaFlags::GROWS_DOWN)
    .union(AreaFlags::HEAP)
    .union(AreaFlags::HUGE)
    .union(AreaFlags::NO_HUGE);

impl<F: TableFormat, K: Kernel> AddressSpace<F, K> {
    /// Makes an area, and returns its first page. Nothing is written to the tables, however long it is; neighbours that are
    /// alike become one with it. O(log areas), and what `Fixed` replaces costs what [`unmap`](Self::unmap) does.
    ///
    /// # Errors
    /// The pages lie outside the window, there is no room, something is there that may not be replaced, or there is no
    /// node for the area. Nothing is changed.
    pub fn map(&mut self, request: MapRequest) -> Result<Page, SpaceError> {
        let count = request.count.get();
        let first = match request.place {
            Place::Anywhere => self.place(request.count, request.align)?,
            Place::Hint(first) => match self.range(first, count) {
                Ok(pages) if self.is_clear(pages) => first,
                _ => self.place(request.count, request.align)?,
            },
            Place::Fixed(first) => first,
            Place::NoReplace(first) => {
                let pages = self.range(first, count)?;
                if !self.is_free(pages) {
                    return Err(SpaceError::Occupied { pages });
                }
                first
            }
        };
        let pages = self.range(first, count)?;
        if request.backing == Backing::Anonymous && request.flags.contains(AreaFlags::SHARED) {
            return Err(SpaceError::Unsuitable { page: first });
        }
        let area = Area::new(pages, request.permissions | Permissions::USER)
            .with_backing(request.backing)
            .ok_or(SpaceError::Range)?
            .with_flags(request.flags & CHOSEN);
        if matches!(request.place, Place::Fixed(_)) && !self.is_free(pages) {
            // One split for a hole in the midst of an area, and the new one.
            self.areas.reserve(3).map_err(SpaceError::Nodes)?;
            self.remove(pages)?;
        }
        self.enter(area)?;
        Ok(first)
    }

    /// Enters an area where there is room for it.
    pub(super) fn enter(&mut self, area: Area) -> Result<(), SpaceError> {
        // Where a neighbour is alike it grows instead: no node is needed, and none is made to be joined at once.
        if let Some(low) = self.areas.before(area.first()).filter(|low| low.joins(&area)) {
            let joined = low.until(area.end()).with_history(area.flags());
            self.areas.replace(low.first(), joined);
        } else if let Some(high) = self.areas.find(area.end()).filter(|high| area.joins(high)) {
            let joined = area.until(high.end()).with_history(high.flags());
            self.areas.replace(high.first(), joined);
            return Ok(());
        } else {
            return Ok(self.areas.insert(area)?);
        }
        self.areas.join(area.end());
        Ok(())
    }

    /// Whether no area has any of these pages.
    pub(super) fn is_free(&self, pages: PageRun) -> bool {
        self.areas.at_or_after(pages.first()).is_none_or(|next| pages.end() <= next.first())
    }

    /// Whether no area has any of these pages, nor the guard of a stack above does.
    pub(super) fn is_clear(&self, pages: PageRun) -> bool {
        self.areas.at_or_after(pages.first()).is_none_or(|next| {
            let stack = next.flags().contains(AreaFlags::GROWS_DOWN);
            let guard = if stack { self.settings.stack_guard } else { 0 };
            pages.end().number() <= next.first().number().saturating_sub(guard)
        })
    }

    /// A place for so many pages: the highest or lowest hole, not in the guard below a stack.
    pub(super) fn place(&self, count: NonZero<u64>, align: Order) -> Result<Page, SpaceError> {
        let Settings { mut window, direction, stack_guard, .. } = self.settings;
        loop {
            let gap = self.areas.gap(&GapRequest { count, align, window, direction });
            let first = gap.ok_or(SpaceError::NoRoom)?;
            let end = Page::new(first.number() + count.get());
            let above =
                self.areas.at_or_after(end).filter(|area| area.flags().contains(AreaFlags::GROWS_DOWN));
            let Some(stack) = above else { return Ok(first) };
            let guard = stack.first().number().saturating_sub(stack_guard);
            if end.number() <= guard {
                return Ok(first);
            }
            // Below the guard, or above the stack.
            let (low, high) = match direction {
                Direction::TopDown => (window.first().number(), guard),
                Direction::BottomUp => (stack.end().number(), window.end().number()),
            };
            let rest = PageRun::new(Page::new(low), high.saturating_sub(low));
            window = rest.ok_or(SpaceError::NoRoom)?;
        }
    }
}
