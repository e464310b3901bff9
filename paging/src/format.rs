//! Page-table formats as data: what an entry means, never how this host translates.
//!
//! ```text
//!              LEVELS − 1            …            1                   0
//!  address   │ index of the root │        │ index of level 1 │ index of level 0 │ offset │
//!            SHIFTS[LEVELS]      SHIFTS[LEVELS−1]            SHIFTS[1]          SHIFTS[0] = PAGE.log2()
//! ```
//! *Level 0* is the lowest: its leaves are base pages. (x86 calls it PT, RISC-V level 0, AArch64 level 3.) A leaf of level
//! ℓ covers 2^`SHIFTS[ℓ]` bytes; a table of level ℓ has 2^`INDEX_BITS[ℓ]` entries and covers 2^`SHIFTS[ℓ + 1]` bytes.
//!
//! # Writing runs
//! Consecutive leaves of one level differ by a constant: encode the first by [`leaf`](Format::leaf), then add
//! [`stride`](Format::stride). Nothing is decided entry by entry. (Two formats keep high address bits in a second field:
//! a run must not cross a multiple of 2^[`LINEAR_BITS`](Format::LINEAR_BITS).) Changing attributes works alike: one
//! [`edit`](Format::edit) for the run, then [`apply`](Format::apply) to each entry.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::{PageSize, PhysAddr, VirtAddr};

use crate::{Attributes, Entry, Touched};

pub mod aarch64;
pub mod ept;
mod error;
mod geometry;
mod memo;
pub mod riscv;
mod toy;
pub mod x86;

pub use aarch64::{AArch64, Stage2};
pub use ept::Ept;
pub use error::EntryError;
pub use geometry::{Field, Fresh, Half, MAX_LEVELS, Run, SetBy};
pub use memo::{Kept, Memo, Nothing};
pub use riscv::{RiscV, Sv32, Sv39, Sv48, Sv57};
pub use toy::Toy;
pub use x86::{Pae, X86, X86_64};

mod sealed {
    pub trait Sealed {}
}

/// A page-table format. Sealed: the table code's safety rests on it.
///
/// Guarantees of every implementation, for any entry and any level below `LEVELS`:
/// 1. `kind(Entry::ZERO, ℓ)` is `Absent`, at every level.
/// 2. What [`leaf`](Self::leaf), [`table`](Self::table) and [`absent`](Self::absent) return decodes to what they were
///    given, at the same level.
/// 3. `leaf(a + k·size, …) == leaf(a, …) + k·stride(ℓ)` while the addresses lie in one aligned block of
///    2^`LINEAR_BITS` bytes, and the attributes do not matter to the address: `apply` keeps it.
/// 4. No table is linked by an entry that `kind` does not call a `Table`; none at level 0.
/// 5. The geometry is fixed: `SHIFTS[ℓ + 1] == SHIFTS[ℓ] + INDEX_BITS[ℓ]`, and `SHIFTS[LEVELS] ≤ 64`.
pub trait Format: sealed::Sealed + Copy + Eq + Default + fmt::Debug + Send + Sync + 'static {
    /// The word of an entry.
    type Entry: Entry;

    /// For dumps and tests.
    const NAME: &'static str;
    /// How many levels there are; the root is level `LEVELS − 1`.
    const LEVELS: usize;
    /// The page that a leaf of level 0 covers, and the frame that every table but the root fills or fits into.
    const PAGE: PageSize;
    /// Index bits of each level, 0 above the root.
    const INDEX_BITS: [u8; MAX_LEVELS];
    /// Where each level's index begins in an address; `SHIFTS[LEVELS]` is the width of the address.
    const SHIFTS: [u8; MAX_LEVELS + 1] = geometry::shifts(Self::PAGE, Self::INDEX_BITS);
    /// Bit ℓ: level ℓ may hold leaves. Bit 0 is always set.
    const LEAF_LEVELS: u8;
    /// For each level the contiguous runs that the hardware may cache as one translation (AArch64's contiguous bit,
    /// Svnapot), if any.
    const RUNS: [Option<Run>; MAX_LEVELS] = [None; MAX_LEVELS];
    /// What the bits above the table's reach must be.
    const HALF: Half;
    /// The widest physical address that an entry holds. The machine's own width may be less.
    /// [`physical_bits`](Self::physical_bits) has it level by level.
    const PHYSICAL_BITS: u8;
    /// Strides hold within aligned blocks of 2^this bytes; 64 in most formats.
    const LINEAR_BITS: u8 = 64;
    /// How many bits of [`Attributes::software`] a leaf keeps.
    const SOFTWARE_BITS: u8;
    /// How many bits of software state an absent entry keeps.
    const ABSENT_BITS: u8;
    /// Ignored bits of a table entry, at every level above 0, in which a table's population can be kept. At least
    /// 10 bits if there.
    const COUNT: Option<Field> = None;
    /// Whether leaves have a global bit.
    const GLOBAL: bool;
    /// Who sets the accessed bit of a leaf.
    const ACCESSED: SetBy;
    /// Who sets the dirty bit of a leaf.
    const DIRTY: SetBy;
    /// What has to follow the store that makes an absent entry present.
    const FRESH: Fresh;
    /// Whether [`must_break`](Self::must_break) can ever be true (AArch64).
    const BREAK_BEFORE_MAKE: bool = false;
    /// Whether the entries of the root are read only when the root is loaded (PAE): each change of one, even from
    /// absent to present, needs a reload of the root register.
    const ROOT_LATCHED: bool = false;

    /// How a token for fresh mappings remembers what is owed for them: [`Kept`], or [`Nothing`] where that is nothing.
    type Memo<T: Copy + fmt::Debug>: Memo<T>;

    /// The leaf of level `level` for the memory at `address`.
    ///
    /// # Errors
    /// If and only if the address is not a multiple of the leaf's size or too wide, the level holds no leaves, or the
    /// format cannot say just these attributes.
    fn leaf(
        address: PhysAddr,
        attributes: Attributes,
        touched: Touched,
        level: usize,
    ) -> Result<Self::Entry, EntryError>;

    /// What consecutive leaves of this level differ by, as a number to add.
    #[must_use]
    fn stride(level: usize) -> Self::Entry;

    /// The entry that turns `leaf`, the leaf of the first frame of a contiguous run, into the first entry of that run;
    /// the others follow by the rule of [`Run`]. The leaf itself where `RUNS[level]` is `None`.
    ///
    /// The caller answers for the alignment of page and frame to the run, and for equal attributes throughout.
    #[must_use]
    fn contiguous(leaf: Self::Entry, level: usize) -> Self::Entry {
        let _ = level;
        leaf
    }

    /// Whether the leaf says that it is part of a contiguous run.
    #[must_use]
    fn is_contiguous(leaf: Self::Entry, level: usize) -> bool {
        let _ = (leaf, level);
        false
    }

    /// The leaf at `index` of its table without the mark of a contiguous run; the same leaf if it has none.
    #[must_use]
    fn alone(leaf: Self::Entry, level: usize, index: usize) -> Self::Entry {
        let _ = (level, index);
        leaf
    }

    /// The entry of level `level` that links the table of level `level − 1` at `address`. It permits everything: the
    /// leaf decides. Accessed bits that the hardware would set in it are set.
    ///
    /// # Errors
    /// If and only if the address is not a multiple of [`PAGE`](Self::PAGE) or too wide, or the level is 0.
    fn table(address: PhysAddr, level: usize) -> Result<Self::Entry, EntryError>;

    /// The absent entry with this software state: swap slots, guards. State 0 is [`Entry::ZERO`].
    ///
    /// # Errors
    /// If and only if the state has more than [`ABSENT_BITS`](Self::ABSENT_BITS) bits.
    fn absent(state: u64) -> Result<Self::Entry, EntryError>;

    /// What an entry of this level is.
    #[must_use]
    fn kind(entry: Self::Entry, level: usize) -> Kind;

    /// The memory that the leaf at `index` of its table covers; not specified for what is no leaf.
    #[must_use]
    fn leaf_address(entry: Self::Entry, level: usize, index: usize) -> PhysAddr;

    /// The table that the entry links; not specified for what links none.
    #[must_use]
    fn table_address(entry: Self::Entry, level: usize) -> PhysAddr;

    /// The software state of an absent entry; not specified for others.
    #[must_use]
    fn absent_state(entry: Self::Entry) -> u64;

    /// The attributes of a leaf; not specified for what is no leaf.
    #[must_use]
    fn attributes(leaf: Self::Entry, level: usize) -> Attributes;

    /// The accessed and dirty bits of a leaf; not specified for what is no leaf.
    #[must_use]
    fn touched(leaf: Self::Entry, level: usize) -> Touched;

    /// The leaf with exactly these accessed and dirty bits.
    #[must_use]
    fn with_touched(leaf: Self::Entry, touched: Touched, level: usize) -> Self::Entry;

    /// How leaves of this level get these attributes; address, accessed and dirty bits and the mark of a contiguous run
    /// are kept.
    ///
    /// # Errors
    /// As [`leaf`](Self::leaf), for attributes and level.
    fn edit(attributes: Attributes, level: usize) -> Result<Edit<Self::Entry>, EntryError>;

    /// The leaf after the edit. Without a branch.
    #[must_use]
    #[inline(always)]
    fn apply(leaf: Self::Entry, edit: Edit<Self::Entry>) -> Self::Entry {
        leaf & !edit.clear | edit.set
    }

    /// Whether the hardware has nothing left to set in this entry: a plain store then loses nothing.
    ///
    /// *Caution:* a processor may set the dirty bit through a write right that it still has cached. An entry whose write
    /// right was just taken away counts as stable only after the flush that followed.
    #[must_use]
    fn is_stable(entry: Self::Entry, level: usize) -> bool;

    /// Whether the architecture wants the entry made absent, and the translation flushed, between `old` and `new`
    /// (AArch64's break-before-make).
    #[must_use]
    fn must_break(old: Self::Entry, new: Self::Entry, level: usize) -> bool {
        let _ = (old, new, level);
        false
    }

    /// The attributes nearest to these that the format can say exactly: at least these rights, a memory type at least as
    /// strict. What it returns, [`leaf`](Self::leaf) accepts, and decodes to the same.
    #[must_use]
    fn nearest(attributes: Attributes) -> Attributes;

    /// The entry in typed form. `index` is its place in its table: an entry of a Svnapot run does not say which page of
    /// the run it is.
    #[must_use]
    #[inline]
    fn decode(entry: Self::Entry, level: usize, index: usize) -> Decoded {
        match Self::kind(entry, level) {
            Kind::Absent => Decoded::Absent { state: Self::absent_state(entry) },
            Kind::Leaf => Decoded::Leaf {
                address: Self::leaf_address(entry, level, index),
                attributes: Self::attributes(entry, level),
                touched: Self::touched(entry, level),
                contiguous: Self::is_contiguous(entry, level),
            },
            Kind::Table => Decoded::Table { address: Self::table_address(entry, level) },
            Kind::Reserved => Decoded::Reserved,
        }
    }

    /// The widest physical address of a leaf of this level; at level 0 of tables too.
    #[must_use]
    #[inline(always)]
    fn physical_bits(level: usize) -> u8 {
        let _ = level;
        Self::PHYSICAL_BITS
    }

    /// The page size of a leaf of this level. The level is below `LEVELS`.
    #[must_use]
    #[inline]
    fn leaf_size(level: usize) -> PageSize {
        geometry::size(Self::SHIFTS[level])
    }

    /// Whether the level may hold leaves.
    #[must_use]
    #[inline(always)]
    fn has_leaves(level: usize) -> bool {
        level < Self::LEVELS && Self::LEAF_LEVELS >> level & 1 != 0
    }

    /// How many entries a table of this level has.
    #[must_use]
    #[inline(always)]
    fn entries(level: usize) -> usize {
        1 << Self::INDEX_BITS[level]
    }

    /// The size of a table of this level in bytes. It is also its alignment. The root may be larger than a page (AArch64
    /// stage 2) or smaller (PAE).
    #[must_use]
    #[inline(always)]
    fn table_bytes(level: usize) -> u64 {
        (Self::Entry::BYTES as u64) << Self::INDEX_BITS[level]
    }

    /// The place of an address in the table of this level that covers it.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an index has at most 16 bits")]
    fn index(address: VirtAddr, level: usize) -> usize {
        (address.value() >> Self::SHIFTS[level]) as usize & (Self::entries(level) - 1)
    }

    /// The bits of an address that the tables translate, counted from the bottom of what they cover.
    #[must_use]
    #[inline(always)]
    fn linear(address: VirtAddr) -> u64 {
        address.value() & geometry::mask(Self::SHIFTS[Self::LEVELS])
    }

    /// The address whose [`linear`](Self::linear) form this is. Bits above the tables' reach are ignored.
    #[must_use]
    #[inline(always)]
    fn delinear(linear: u64) -> VirtAddr {
        Self::HALF.extend(linear, Self::SHIFTS[Self::LEVELS])
    }

    /// Whether the tables can translate this address: canonical, or in the right half, or narrow enough.
    #[must_use]
    #[inline(always)]
    fn accepts(address: VirtAddr) -> bool {
        Self::delinear(address.value()) == address
    }

    /// Whether the tables can translate every address from `first` to `last`, inclusive.
    #[must_use]
    #[inline]
    fn accepts_range(first: VirtAddr, last: VirtAddr) -> bool {
        let reach = geometry::mask(Self::SHIFTS[Self::LEVELS]);
        first <= last
            && last.value() - first.value() <= reach
            && Self::accepts(first)
            && Self::accepts(last)
            && (Self::HALF != Half::Both
                || Self::SHIFTS[Self::LEVELS] == 64
                || (first.value() ^ last.value()) >> 63 == 0)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The hardware faults and ignores all other bits.
    Absent,
    /// It maps memory.
    Leaf,
    /// It links a table of the level below.
    Table,
    /// Present, but an encoding that the hardware refuses or calls reserved.
    Reserved,
}

/// An entry in typed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The hardware faults.
    Absent {
        /// What software keeps there.
        state: u64,
    },
    /// It maps memory.
    Leaf {
        /// The first byte of that memory.
        address: PhysAddr,
        /// Rights, memory type, software bits.
        attributes: Attributes,
        /// Accessed and dirty.
        touched: Touched,
        /// Part of a contiguous run.
        contiguous: bool,
    },
    /// It links a table of the level below.
    Table {
        /// The table.
        address: PhysAddr,
    },
    /// Present, but an encoding that the hardware refuses or calls reserved.
    Reserved,
}

/// A change of attributes, prepared once for a whole run: see [`Format::edit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<E> {
    /// The bits that are cleared first.
    pub(crate) clear: E,
    /// The bits that are set then.
    pub(crate) set: E,
}
