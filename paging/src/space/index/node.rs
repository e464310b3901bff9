//! The nodes of the index: rows of keys beside rows of values, of half a kibibyte.
#![forbid(unsafe_code)]

use super::super::area::Tail;

/// Areas in a leaf.
pub(super) const LEAF: usize = 12;
/// Children of an inner node.
pub(super) const FAN: usize = 15;

/// No key: above every page number.
const NOTHING: u64 = u64::MAX;

/// Sorted keys and their values.
///
/// # Invariants
/// * the first `count` keys ascend, the others are `u64::MAX`
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<V, const N: usize> {
    keys: [u64; N],
    values: [V; N],
    count: usize,
}

/// What an inner node knows of a child, whose first page is the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The end of its last area.
    pub(super) end: u64,
    /// The longest hole between two areas in it.
    pub(super) gap: u64,
    /// Where it is.
    pub(super) child: u32,
}

/// A leaf: areas by their first page.
pub(super) type Leaf = Row<Tail, LEAF>;
/// An inner node: children by their first page.
pub(super) type Inner = Row<Link, FAN>;

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// Nothing: the next free one.
    Free(u32),
    /// A leaf.
    Leaf(Leaf),
    /// An inner node.
    Inner(Inner),
}

/// One node of an index of areas: 512 bytes, or less where pointers are short. Storage for an index is an array of them.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Node(pub(super) Body);

const _: () = assert!(size_of::<Node>() <= 512);

impl Node {
    /// A node that is in no index yet.
    pub const EMPTY: Self = Self(Body::Free(u32::MAX));

    /// The row of a leaf. Only called where the height says that it is one: an empty row stands for all else.
    #[inline]
    pub(super) fn leaf(&self) -> &Leaf {
        match &self.0 {
            Body::Leaf(leaf) => leaf,
            _ => const { &Leaf::EMPTY },
        }
    }

    /// The row of an inner node, likewise.
    #[inline]
    pub(super) fn inner(&self) -> &Inner {
        match &self.0 {
            Body::Inner(inner) => inner,
            _ => const { &Inner::EMPTY },
        }
    }

    /// The row of a leaf; the node becomes one if it is none.
    #[inline]
    pub(super) fn leaf_mut(&mut self) -> &mut Leaf {
        if !matches!(self.0, Body::Leaf(_)) {
            self.0 = Body::Leaf(Leaf::EMPTY);
        }
        match &mut self.0 {
            Body::Leaf(leaf) => leaf,
            _ => unreachable!("set above"),
        }
    }

    /// The row of an inner node; the node becomes one if it is none.
    #[inline]
    pub(super) fn inner_mut(&mut self) -> &mut Inner {
        if !matches!(self.0, Body::Inner(_)) {
            self.0 = Body::Inner(Inner::EMPTY);
        }
        match &mut self.0 {
            Body::Inner(inner) => inner,
            _ => unreachable!("set above"),
        }
    }
}

/// A value of a row, and what a hole of it holds.
pub(super) trait Value: Copy {
    const NONE: Self;
    /// First page, end and longest hole of what this stands for.
    fn summary(&self, key: u64) -> Summary;
}

/// What a parent must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) gap: u64,
}

impl Value for Tail {
    const NONE: Self = Self {
        end: 0,
        offset: 0,
        object: None,
        permissions: hectare_core::Permissions::empty(),
        flags: super::super::AreaFlags::empty(),
    };

    #[inline]
    fn summary(&self, first: u64) -> Summary {
        Summary { first, end: self.end, gap: 0 }
    }
}

impl Value for Link {
    const NONE: Self = Self { end: 0, gap: 0, child: u32::MAX };

    #[inline]
    fn summary(&self, first: u64) -> Summary {
        Summary { first, end: self.end, gap: self.gap }
    }
}

impl<V: Value, const N: usize> Row<V, N> {
    pub(super) const EMPTY: Self = Self { keys: [NOTHING; N], values: [V::NONE; N], count: 0 };
    /// A node other than the root has at least so many.
    pub(super) const LEAST: usize = N / 2;

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count.min(N)
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.count() == N
    }

    #[inline]
    pub(super) fn keys(&self) -> &[u64] {
        &self.keys[..self.count()]
    }

    #[inline]
    pub(super) fn values(&self) -> &[V] {
        &self.values[..self.count()]
    }

    /// How many keys are at most `key`: by halves, so that four keys are looked at and not all; no branch depends on a key.
    /// The keys that are not there are above every other.
    #[inline]
    pub(super) fn up_to(&self, key: u64) -> usize {
        self.keys.partition_point(|own| *own <= key)
    }

    /// Key and value at a place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<(u64, &V)> {
        Some((*self.keys().get(place)?, self.values().get(place)?))
    }

    /// Another key and value at a place that is taken. The order stays.
    #[inline]
    pub(super) fn set(&mut self, place: usize, key: u64, value: V) {
        if place < self.count() {
            self.keys[place] = key;
            self.values[place] = value;
        }
    }

    /// Puts one in before what is at `place`. The row is not full.
    pub(super) fn insert(&mut self, place: usize, key: u64, value: V) {
        let count = self.count();
        if count == N || place > count {
            return;
        }
        self.keys.copy_within(place..count, place + 1);
        self.values.copy_within(place..count, place + 1);
        (self.keys[place], self.values[place]) = (key, value);
        self.count += 1;
    }

    /// Takes the one at `place` out.
    pub(super) fn remove(&mut self, place: usize) {
        let count = self.count();
        if place >= count {
            return;
        }
        self.keys.copy_within(place + 1..count, place);
        self.values.copy_within(place + 1..count, place);
        self.keys[count - 1] = NOTHING;
        self.count -= 1;
    }

    /// Takes all from `place` on out, as a row of their own.
    pub(super) fn split_off(&mut self, place: usize) -> Self {
        let mut rest = Self::EMPTY;
        let count = self.count();
        for from in place..count {
            rest.keys[from - place] = self.keys[from];
            rest.values[from - place] = self.values[from];
            self.keys[from] = NOTHING;
        }
        rest.count = count - place.min(count);
        self.count -= rest.count;
        rest
    }

    /// Appends a row whose keys are all above. Both together fit.
    pub(super) fn append(&mut self, next: &Self) {
        let (count, more) = (self.count(), next.count());
        if count + more > N {
            return;
        }
        self.keys[count..count + more].copy_from_slice(next.keys());
        self.values[count..count + more].copy_from_slice(next.values());
        self.count += more;
    }

    /// Shares the members of two neighbouring rows evenly.
    pub(super) fn even(&mut self, next: &mut Self) {
        let half = (self.count() + next.count()) / 2;
        if self.count() > half {
            let mut upper = self.split_off(half);
            upper.append(next);
            *next = upper;
        } else {
            let upper = next.split_off(half - self.count());
            self.append(next);
            *next = upper;
        }
    }

    /// First page, end and longest hole of all that is here.
    #[inline]
    pub(super) fn summary(&self) -> Summary {
        let count = self.count();
        let (Some(first), Some(last)) = (self.keys().first(), self.values().last()) else {
            return Summary { first: 0, end: 0, gap: 0 };
        };
        let mut summary = Summary { first: *first, end: last.summary(0).end, gap: 0 };
        let mut end = *first;
        for place in 0..count {
            let own = self.values[place].summary(self.keys[place]);
            let between = if cfg!(hectare_plant = "index_blind") { 0 } else { own.first - end };
            summary.gap = summary.gap.max(own.gap).max(between);
            end = own.end;
        }
        summary
    }
}
