//! A process without tables: its pages, one by one.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{CELLS, Stretch};

/// One page of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) rights: u8,
    /// The object behind it: which, which page, whether shared.
    pub(super) object: Option<(u8, u64, bool)>,
    /// What the process has written; zeros or the object's words otherwise.
    pub(super) own: Option<[u64; CELLS]>,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) pages: BTreeMap<u64, Page>,
    pub(super) heap: u64,
}

impl Process {
    pub(super) fn free(&self, first: u64, count: u64) -> bool {
        self.pages.range(first..first + count).next().is_none()
    }

    pub(super) fn stretches(&self) -> Vec<Stretch> {
        let stretch = |(first, page): (&u64, &Page)| Stretch {
            first: *first,
            end: *first + 1,
            rights: page.rights,
            shared: page.object.is_some_and(|(_, _, shared)| shared),
        };
        join(self.pages.iter().map(stretch))
    }
}

/// Joins neighbours with equal rights.
pub(super) fn join(stretches: impl IntoIterator<Item = Stretch>) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = vec![];
    for stretch in stretches {
        match joined.last_mut() {
            Some(last)
                if last.end == stretch.first
                    && (last.rights, last.shared) == (stretch.rights, stretch.shared) =>
            {
                last.end = stretch.end;
            }
            _ => joined.push(stretch),
        }
    }
    joined
}

/// Whether so many pages are free in one piece.
pub(super) fn has_room(process: &Process, space: u64, count: u64) -> bool {
    let mut from = 0;
    let ends = process.pages.keys().copied().chain([space]);
    ends.into_iter().any(|page| {
        let room = page.saturating_sub(from) >= count;
        from = page + 1;
        room
    })
}
