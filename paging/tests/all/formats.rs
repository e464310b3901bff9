//! Every format: what is encoded decodes to the same, runs count up, and the walkers written from the manuals see what
//! was meant, whatever the bits.

use std::collections::HashMap;

use hectare_core::{Frame, FrameRun, Page, Permissions, PhysAddr, VirtAddr};
use hectare_paging::format::aarch64::{self, AArch64, Stage2};
use hectare_paging::format::ept::{self, Ept};
use hectare_paging::format::riscv::{self, RiscV, Sv32, Sv39, Sv48, Sv57};
use hectare_paging::format::{Pae, SetBy, Toy, X86, X86_64};
use hectare_paging::{
    Attributes, Decoded, Entry, EntryError, Format, Kind, MapOptions, MemoryType, PageTable, Touched,
};
use hectare_testkit::stand_in::PlainFrames;
use proptest::prelude::*;

use crate::walkers::{Hit, Walked, expect};

const EXTENSIONS: u8 = riscv::SVPBMT | riscv::SVNAPOT | riscv::SVADU | riscv::SVVPTC;
const UPPER_MANAGED: u8 = aarch64::UPPER | aarch64::HARDWARE_DIRTY;

/// A generic function for every format. Tests stay quick to build: what is generic is small, and proptest is not.
macro_rules! every_format {
    ($function:ident) => {
        [
            $function::<X86>,
            $function::<X86<true>>,
            $function::<Pae>,
            $function::<X86_64<4>>,
            $function::<X86_64<5>>,
            $function::<Sv32>,
            $function::<Sv32<{ riscv::SVADU }>>,
            $function::<Sv39>,
            $function::<RiscV<3, EXTENSIONS>>,
            $function::<Sv48>,
            $function::<Sv57>,
            $function::<RiscV<5, EXTENSIONS>>,
            $function::<Ept>,
            $function::<Ept<5, { ept::EXECUTE_ONLY | ept::ACCESSED_DIRTY }>>,
            $function::<AArch64<12>>,
            $function::<AArch64<12, 39, UPPER_MANAGED>>,
            $function::<AArch64<12, 52, { aarch64::LPA2 }>>,
            $function::<AArch64<14>>,
            $function::<AArch64<14, 47, { aarch64::HARDWARE_ACCESSED }>>,
            $function::<AArch64<14, 52, { aarch64::LPA2 | UPPER_MANAGED }>>,
            $function::<AArch64<16>>,
            $function::<AArch64<16, 52, { aarch64::LPA2 | aarch64::BBM2 }>>,
            $function::<Stage2<12, 40>>,
            $function::<Stage2<12, 48, { aarch64::HARDWARE_DIRTY }>>,
            $function::<Stage2<12, 52, { aarch64::LPA2 }>>,
            $function::<Stage2<14, 40>>,
            $function::<Stage2<16, 44, { aarch64::HARDWARE_ACCESSED }>>,
            $function::<Toy<2, 2, 0>>,
            $function::<Toy<3, 1, 1>>,
        ]
    };
}

/// What a format is asked to say.
#[derive(Clone, Copy, Debug)]
struct Case {
    level: usize,
    linear: u64,
    random: u64,
    wanted: Attributes,
    other: Attributes,
    touched: Touched,
    state: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let numbers = (0..5_usize, any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, any_attributes(), any_attributes(), any_touched()).prop_map(
        |((level, linear, random, state), wanted, other, touched)| Case {
            level,
            linear,
            random,
            wanted,
            other,
            touched,
            state,
        },
    )
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let memory = prop::sample::select(&[
        MemoryType::WriteBack,
        MemoryType::WriteThrough,
        MemoryType::WriteCombining,
        MemoryType::Uncached,
        MemoryType::Device,
        MemoryType::DeviceStrict,
    ]);
    (0_u8..16, memory, any::<bool>(), any::<u16>()).prop_map(|(rights, memory, global, software)| {
        Attributes { permissions: Permissions::from_bits_truncate(rights), memory, global, software }
    })
}

fn any_touched() -> impl Strategy<Value = Touched> {
    (any::<bool>(), any::<bool>()).prop_map(|(accessed, dirty)| Touched { accessed, dirty })
}

fn address_of<F: Format>(random: u64, level: usize) -> PhysAddr {
    PhysAddr::new(random % (1 << F::physical_bits(level))).align_down(F::leaf_size(level))
}

fn table_address_of<F: Format>(random: u64) -> PhysAddr {
    PhysAddr::new(random % (1 << F::physical_bits(0))).align_down(F::PAGE)
}

fn round_trip<F: Format>(case: &Case) {
    let Case { level, random, wanted, other, touched, state, .. } = *case;
    let level = level % F::LEVELS;
    let size = F::leaf_size(level);
    let address = address_of::<F>(random, level);
    let attributes = F::nearest(wanted);
    assert!(attributes.permissions.contains(wanted.permissions));
    assert_eq!(F::nearest(attributes), attributes);
    match F::leaf(address, attributes, touched, level) {
        Err(error) => assert!(!F::has_leaves(level), "{error}"),
        Ok(entry) => {
            let leaf = Decoded::Leaf { address, attributes, touched, contiguous: false };
            assert_eq!(F::decode(entry, level, 0), leaf);
            assert_eq!(
                F::with_touched(entry, Touched::NO, level),
                F::leaf(address, attributes, Touched::NO, level).unwrap()
            );
            let changed = F::nearest(other);
            let edited = F::apply(entry, F::edit(changed, level).unwrap());
            assert_eq!(edited, F::leaf(address, changed, touched, level).unwrap());
            let next = address.value().wrapping_add(size.bytes());
            let linear = next & (u64::MAX >> (64 - F::LINEAR_BITS)) != 0;
            if next >> F::physical_bits(level) == 0 && linear {
                let second = F::leaf(PhysAddr::new(next), attributes, touched, level).unwrap();
                assert_eq!(entry.plus(F::stride(level)), second);
            }
            assert!(!F::must_break(entry, edited, level) || F::BREAK_BEFORE_MAKE);
        }
    }
    let table = table_address_of::<F>(random);
    match F::table(table, level) {
        Err(_) => assert_eq!(level, 0),
        Ok(entry) => {
            assert_eq!(F::decode(entry, level, 0), Decoded::Table { address: table });
            assert!(F::is_stable(entry, level));
        }
    }
    let state = state >> (64 - F::ABSENT_BITS);
    assert_eq!(F::decode(F::absent(state).unwrap(), level, 0), Decoded::Absent { state });
    assert_eq!(F::decode(F::Entry::ZERO, level, 0), Decoded::Absent { state: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_encoded_decodes_to_the_same(case in case()) {
        every_format!(round_trip).iter().for_each(|format| format(&case));
    }

    #[test]
    fn walkers_from_the_manuals_find_what_was_meant(case in case()) {
        every_format!(walkers_agree).iter().for_each(|format| format(&case));
    }
}

/// Tables in a map, the root at a fixed place; entries that were never written are absent.
struct Memory(HashMap<u64, u64>);

impl Memory {
    const ROOT: u64 = 0x7000_0000;

    /// The tables that lead to level `level` for an address, and the place of its entry there.
    fn path<F: Format>(&mut self, address: VirtAddr, level: usize) -> u64 {
        let mut table = Self::ROOT;
        for above in (level + 1..F::LEVELS).rev() {
            let place = table + (F::index(address, above) * F::Entry::BYTES) as u64;
            table = Self::ROOT + (above as u64) * 0x10_0000;
            self.0.insert(place, F::table(PhysAddr::new(table), above).unwrap().widen());
        }
        table + (F::index(address, level) * F::Entry::BYTES) as u64
    }

    fn walk<F: Walked>(&self, address: VirtAddr) -> Option<Hit> {
        let read = |place, _| self.0.get(&place).copied().unwrap_or(0);
        F::walk(&read, Self::ROOT, address.value())
    }
}

fn walkers_agree<F: Walked>(case: &Case) {
    let Case { level, linear, random, wanted, touched, .. } = *case;
    let level = level % F::LEVELS;
    let level = (0..=level).rev().find(|&l| F::has_leaves(l)).unwrap();
    let (virt, attributes) = (F::delinear(linear), F::nearest(wanted));
    let (address, bits) = (address_of::<F>(random, level), F::SHIFTS[level]);
    let mut memory = Memory(HashMap::new());
    let place = memory.path::<F>(virt, level);
    assert_eq!(memory.walk::<F>(virt), None);
    let entry = F::leaf(address, attributes, touched, level).unwrap();
    memory.0.insert(place, entry.widen());
    let offset = F::linear(virt) & ((1 << bits) - 1);
    let hit = memory.walk::<F>(virt).unwrap();
    expect::<F>(hit, address.value() + offset, bits.into(), attributes, touched);
    assert_eq!(memory.walk::<F>(VirtAddr::new(virt.value() ^ 1 << bits)), None, "the neighbour");
    let outside = VirtAddr::new(virt.value() ^ 1 << 63);
    assert!(!F::accepts(outside));
    assert_eq!(memory.walk::<F>(outside), None, "a wrong half");
}

/// Any word at all, at any level: the walker finds a page where `kind` says leaf, with the decoded meaning, and nothing
/// elsewhere. Tries single bits, pairs of bits, and those flipped in a leaf and in a table entry.
fn any_word<F: Walked>() {
    let wide = 8 * F::Entry::BYTES as u32;
    let virt = F::delinear(0x0123_4567_89AB_CDEF);
    for level in 0..F::LEVELS {
        let mut seeds = vec![0, 1];
        for rights in 0..16 {
            let asked = Attributes::new(Permissions::from_bits_truncate(rights));
            let leaf = F::leaf(PhysAddr::new(0), F::nearest(asked), Touched::NO, level);
            seeds.extend(leaf.map(Entry::widen));
            seeds.extend(leaf.map(|leaf| F::contiguous(leaf, level).widen()));
        }
        seeds.extend(F::table(PhysAddr::new(0x100_0000), level).map(Entry::widen));
        seeds.dedup();
        for seed in seeds {
            for (a, b) in (0..wide).flat_map(|a| (a..wide).map(move |b| (a, b))) {
                check_word::<F>(F::Entry::truncate(seed ^ 1 << a ^ 1 << b), level, virt);
                check_word::<F>(F::Entry::truncate(seed ^ 1 << a), level, virt);
            }
        }
    }
}

fn check_word<F: Walked>(entry: F::Entry, level: usize, virt: VirtAddr) {
    let mut memory = Memory(HashMap::new());
    let place = memory.path::<F>(virt, level);
    memory.0.insert(place, entry.widen());
    let context = format!("{} {entry:#x} at level {level}", F::NAME);
    // Reserved encodings of memory types, of which the walkers know nothing.
    let reserved_type = match F::NAME {
        name if name.starts_with("AArch64 stage 2") => {
            !matches!(entry.widen() >> 2 & 15, 0 | 1 | 5 | 10 | 15)
        }
        name if name.starts_with("AArch64") => entry.widen() >> 2 & 7 > 4,
        _ => false,
    };
    if F::kind(entry, level) != Kind::Leaf {
        assert_eq!(memory.walk::<F>(virt), None, "{context}");
        return;
    }
    if reserved_type {
        return;
    }
    let hit = memory.walk::<F>(virt).unwrap_or_else(|| panic!("{context}: nothing found"));
    let offset = F::linear(virt) & ((1 << F::SHIFTS[level]) - 1);
    let physical = F::leaf_address(entry, level, F::index(virt, level)).value() + offset;
    assert_eq!(hit.physical, physical, "{context}");
    let (attributes, touched) = (F::attributes(entry, level), F::touched(entry, level));
    assert_eq!((hit.memory, hit.global), (attributes.memory, attributes.global), "{context}");
    assert_eq!((hit.accessed, hit.dirty), (touched.accessed, touched.dirty), "{context}");
    let user = attributes.permissions.contains(Permissions::USER);
    let mut granted = hit.user;
    if F::BREAK_BEFORE_MAKE {
        // Writable, but not yet: the first write faults.
        assert!(attributes.permissions.contains(granted), "{context}");
        granted |=
            attributes.permissions & Permissions::WRITE & if user { !granted } else { Permissions::empty() };
    }
    let rights = attributes.permissions - Permissions::USER;
    assert_eq!(granted, if user { rights } else { Permissions::empty() }, "{context}");
}

#[test]
fn every_pair_of_bits_means_what_the_manual_says() {
    every_format!(any_word).iter().for_each(|format| format());
}

fn contiguous_runs<F: Walked>() {
    let attributes = F::nearest(Attributes::new(Permissions::READ | Permissions::WRITE | Permissions::USER));
    for level in 0..F::LEVELS {
        let Some(run) = F::RUNS[level] else { continue };
        assert!(F::has_leaves(level));
        let (count, bits) = (1_u64 << run.log2, F::SHIFTS[level]);
        let base = PhysAddr::new(3 << (bits + run.log2));
        let leaf = F::leaf(base, attributes, Touched::DIRTY, level).unwrap();
        let mut memory = Memory(HashMap::new());
        let mut entry = F::contiguous(leaf, level);
        assert!(F::is_contiguous(entry, level) && !F::is_contiguous(leaf, level));
        for i in 0..count {
            let virt = F::delinear(i << bits);
            let place = memory.path::<F>(virt, level);
            memory.0.insert(place, entry.widen());
            let hit = memory.walk::<F>(virt).unwrap();
            assert_eq!(hit.physical, base.value() + (i << bits), "{} {level}", F::NAME);
            let index = usize::try_from(i).unwrap();
            assert_eq!(F::leaf_address(entry, level, index).value(), base.value() + (i << bits));
            assert_eq!(F::alone(entry, level, index), leaf.plus(F::stride(level).times(i)));
            let changed =
                F::apply(entry, F::edit(F::nearest(Attributes::new(Permissions::READ)), level).unwrap());
            assert!(F::is_contiguous(changed, level), "an edit keeps the run");
            if !run.repeats {
                entry = entry.plus(F::stride(level));
            }
        }
    }
}

#[test]
fn contiguous_runs_are_seen_entry_by_entry() {
    every_format!(contiguous_runs).iter().for_each(|format| format());
}

fn geometry<F: Format>() {
    for level in 0..F::LEVELS {
        assert_eq!(F::SHIFTS[level + 1], F::SHIFTS[level] + F::INDEX_BITS[level]);
        assert!(F::INDEX_BITS[level] > 0 && F::leaf_size(level).log2() == F::SHIFTS[level]);
        assert!(level + 1 == F::LEVELS || F::table_bytes(level) <= F::PAGE.bytes(), "{}", F::NAME);
    }
    assert!(F::has_leaves(0) && !F::has_leaves(F::LEVELS) && !F::has_leaves(200));
    assert!(F::SHIFTS[F::LEVELS] <= 64);
    if let Some(count) = F::COUNT {
        for level in 1..F::LEVELS {
            let full = F::entries(level - 1) as u64;
            assert!(full < 1 << count.bits, "{}: {full} entries are counted in {} bits", F::NAME, count.bits);
            let table = F::table(PhysAddr::new(0x10_0000), level).unwrap();
            let counted = F::Entry::truncate(table.widen() | ((1 << count.bits) - 1) << count.shift);
            assert_eq!(
                F::decode(counted, level, 0),
                F::decode(table, level, 0),
                "{}: the count is ignored",
                F::NAME
            );
            assert!(!F::must_break(table, counted, level));
        }
    }
}

#[test]
fn the_geometry_is_consistent() {
    every_format!(geometry).iter().for_each(|format| format());
    assert_eq!(AArch64::<14>::INDEX_BITS, [11, 11, 11, 1, 0], "a short root");
    assert_eq!(AArch64::<12, 52, { aarch64::LPA2 }>::LEVELS, 5);
    assert_eq!(
        (Stage2::<12, 40>::LEVELS, Stage2::<12, 40>::table_bytes(2)),
        (3, 0x2000),
        "two tables in a row"
    );
    assert_eq!(
        (Stage2::<14, 40>::LEVELS, Stage2::<14, 40>::table_bytes(1)),
        (2, 16 << 14),
        "sixteen in a row"
    );
    assert_eq!((Pae::table_bytes(2), Sv32::<0>::entries(1)), (32, 1024));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let at = PhysAddr::new;
    let (read, write, execute) = (Permissions::READ, Permissions::WRITE, Permissions::EXECUTE);
    let leaf = |p| Attributes::new(p);
    let refused = |asked, granted| Err(EntryError::Permissions { asked, granted });
    type X64 = X86_64<4>;
    assert_eq!(X64::leaf(at(0), leaf(write), Touched::NO, 0), refused(write, read | write).map(|()| 0));
    assert_eq!(
        X86::<false>::leaf(at(0), leaf(read), Touched::NO, 0),
        refused(read, read | execute).map(|()| 0)
    );
    assert_eq!(Sv39::leaf(at(0), leaf(write), Touched::NO, 0), refused(write, read | write).map(|()| 0));
    assert!(Sv39::leaf(at(0), leaf(execute), Touched::NO, 0).is_ok(), "execute-only");
    assert!(matches!(Ept::<4>::edit(leaf(execute), 0), Err(EntryError::Permissions { .. })));
    assert_eq!(
        Sv39::edit(leaf(read).with_memory(MemoryType::Uncached), 0),
        Err(EntryError::Memory(MemoryType::Uncached))
    );
    assert_eq!(Ept::<4>::edit(leaf(read | Permissions::USER).with_global(true), 0), Err(EntryError::Global));
    let size = X64::leaf_size(1);
    assert_eq!(
        X64::leaf(at(0x1000), leaf(read), Touched::NO, 1),
        Err(EntryError::Misaligned { address: at(0x1000), size })
    );
    let address = at(1 << 52);
    assert_eq!(
        X64::leaf(address, leaf(read), Touched::NO, 0),
        Err(EntryError::TooWide { address, bits: 52 })
    );
    let address = at(1 << 32);
    assert_eq!(
        X86::<true>::leaf(address, leaf(read | execute), Touched::NO, 0),
        Err(EntryError::TooWide { address, bits: 32 })
    );
    assert_eq!(X64::leaf(at(0), leaf(read), Touched::NO, 3), Err(EntryError::Level { level: 3 }));
    assert_eq!(X64::leaf(at(0), leaf(read), Touched::NO, 99), Err(EntryError::Level { level: 99 }));
    assert_eq!(
        X64::edit(leaf(read).with_software(0x400), 0),
        Err(EntryError::Software { state: 0x400, bits: 10 })
    );
    assert_eq!(X64::absent(1 << 63), Err(EntryError::Software { state: 1 << 63, bits: 63 }));
}

#[test]
fn entries_are_the_ones_of_the_manuals() {
    let rights = |text: &str| {
        text.chars().fold(Permissions::empty(), |all, c| {
            all | match c {
                'r' => Permissions::READ,
                'w' => Permissions::WRITE,
                'x' => Permissions::EXECUTE,
                _ => Permissions::USER,
            }
        })
    };
    let leaf = |text| Attributes::new(rights(text));
    let at = PhysAddr::new;
    assert_eq!(X86_64::<4>::leaf(at(0x9000), leaf("rwxu"), Touched::DIRTY, 0), Ok(0x9067));
    assert_eq!(X86_64::<4>::leaf(at(0x9000), leaf("rw"), Touched::NO, 0), Ok(1 << 63 | 0x9003));
    let combining = leaf("rwx").with_memory(MemoryType::WriteCombining);
    assert_eq!(X86_64::<4>::leaf(at(0), combining, Touched::NO, 0), Ok(0x93), "PAT is bit 7");
    assert_eq!(X86_64::<4>::leaf(at(0), combining, Touched::NO, 1), Ok(0x1093), "PAT is bit 12, PS bit 7");
    assert_eq!(
        X86::<false>::leaf(at(0x40_0000), leaf("rwx").with_global(true), Touched::NO, 1),
        Ok(0x40_0183)
    );
    assert_eq!(
        X86::<true>::leaf(at(0x12_0040_0000), leaf("rwx"), Touched::NO, 1),
        Ok(0x40_0083 | 0x12 << 13)
    );
    assert_eq!(Pae::table(at(0x5000), 2), Ok(0x5001));
    assert_eq!(Sv39::leaf(at(0x8020_0000), leaf("rwx"), Touched::DIRTY, 1), Ok(0x2008_00CF));
    assert_eq!(Sv39::table(at(0x8000_1000), 2), Ok(0x2000_0401));
    let napot = RiscV::<3, EXTENSIONS>::contiguous(0x2008_00CF, 0);
    assert_eq!(napot, 1 << 63 | 0x2008_20CF);
    assert_eq!(Ept::<4>::leaf(at(0x20_0000), leaf("rwxu"), Touched::NO, 1), Ok(0x20_04B7));
    // AttrIndx 0, inner shareable, AF, nG, PXN, UXN, DBM; clean, therefore read-only.
    let expected = 0x0068_0000_4000_0FC3;
    assert_eq!(AArch64::<12>::leaf(at(0x4000_0000), leaf("rwu"), Touched::ACCESSED, 0), Ok(expected));
    assert_eq!(
        AArch64::<12>::leaf(at(0x4000_0000), leaf("rwu"), Touched::DIRTY, 0),
        Ok(expected ^ 0x80 | 1 << 55)
    );
    assert_eq!(
        AArch64::<12>::leaf(at(0x4000_0000), leaf("rx"), Touched::ACCESSED, 2),
        Ok(0x0040_0000_4000_0F81)
    );
    let wide = AArch64::<12, 52, { aarch64::LPA2 }>::table(at(0xC_0000_0000_1000), 4);
    assert_eq!(wide, Ok(0x1303), "address bits 51:50 in 9:8");
    assert_eq!(AArch64::<16, 52, { aarch64::LPA2 }>::table(at(0xF_0000_0001_0000), 1), Ok(0x1_F003));
}

#[test]
fn canonical_addresses_are_accepted() {
    let at = VirtAddr::new;
    type X64 = X86_64<4>;
    assert!(X64::accepts(at(0x7FFF_FFFF_FFFF)) && !X64::accepts(at(0x8000_0000_0000)));
    assert!(X64::accepts(at(0xFFFF_8000_0000_0000)) && !X64::accepts(at(0xFFFF_7FFF_FFFF_FFFF)));
    assert!(
        X86_64::<5>::accepts(at(0x00FF_FFFF_FFFF_FFFF)) && !X86_64::<5>::accepts(at(0x0100_0000_0000_0000))
    );
    assert!(X64::accepts_range(at(0xFFFF_8000_0000_0000), at(u64::MAX)));
    assert!(!X64::accepts_range(at(0), at(u64::MAX)), "over the hole");
    assert!(!X64::accepts_range(at(1), at(0)));
    assert!(Toy::<2, 2, 0>::accepts_range(at(0), at(0xFFFF)) && !Toy::<2, 2, 0>::accepts(at(0x1_0000)));
    type Upper = AArch64<12, 39, { aarch64::UPPER }>;
    assert!(Upper::accepts_range(at(0xFFFF_FF80_0000_0000), at(u64::MAX)) && !Upper::accepts(at(0)));
}

#[test]
fn break_before_make_is_asked_for_where_the_manual_wants_it() {
    type A64 = AArch64<12>;
    let data = Attributes::new(Permissions::READ | Permissions::WRITE);
    let leaf = |address, attributes, touched, level| {
        A64::leaf(PhysAddr::new(address), attributes, touched, level).unwrap()
    };
    let old = leaf(0x20_0000, data, Touched::NO, 1);
    let table = A64::table(PhysAddr::new(0x20_0000), 1).unwrap();
    let breaks = |new| A64::must_break(old, new, 1);
    assert!(breaks(table), "the size of a leaf");
    assert!(breaks(leaf(0x40_0000, data, Touched::NO, 1)), "the address");
    assert!(breaks(leaf(0x20_0000, data.with_memory(MemoryType::Device), Touched::NO, 1)), "the memory type");
    assert!(breaks(leaf(0x20_0000, data.with_global(true), Touched::NO, 1)), "a global page over others");
    assert!(breaks(A64::contiguous(old, 1)), "the contiguous bit");
    assert!(!breaks(leaf(0x20_0000, data, Touched::DIRTY, 1)), "the hardware's own changes");
    assert!(
        !breaks(leaf(0x20_0000, Attributes::new(Permissions::READ).with_software(5), Touched::NO, 1)),
        "rights"
    );
    assert!(!breaks(0) && !A64::must_break(0, old, 1), "the break and the make");
    type Level2 = AArch64<12, 48, { aarch64::BBM2 }>;
    assert!(!Level2::must_break(old, table, 1) && !Level2::must_break(old, Level2::contiguous(old, 1), 1));
    assert!(Level2::must_break(old, old.plus(Level2::stride(1)), 1));
}

fn stability<F: Format>() {
    let writable = F::nearest(Attributes::new(Permissions::READ | Permissions::WRITE));
    let fixed = F::nearest(Attributes::new(Permissions::READ));
    for level in (0..F::LEVELS).filter(|&level| F::has_leaves(level)) {
        let is_stable = |attributes, touched| {
            F::is_stable(F::leaf(PhysAddr::new(0), attributes, touched, level).unwrap(), level)
        };
        let (sets_accessed, sets_dirty) = (F::ACCESSED == SetBy::Hardware, F::DIRTY == SetBy::Hardware);
        assert!(is_stable(writable, Touched::DIRTY) && is_stable(fixed, Touched::ACCESSED));
        assert_eq!(is_stable(writable, Touched::ACCESSED), !sets_dirty, "{}", F::NAME);
        assert_eq!(is_stable(fixed, Touched::NO), !sets_accessed, "{}", F::NAME);
        assert!(F::is_stable(F::Entry::ZERO, level));
    }
}

#[test]
fn entries_are_stable_when_the_hardware_has_nothing_left_to_set() {
    every_format!(stability).iter().for_each(|format| format());
}

#[test]
fn e12_a_32_bit_address_is_a_page_and_an_offset() {
    let source = PlainFrames::<12>::new(0x100, 8);
    let mut table = PageTable::<X86, _, _>::new(source.window(), source).unwrap();
    let address = VirtAddr::new(0x0000_1234);
    let (page, offset) = address.split(X86::<false>::PAGE);
    assert_eq!((page, offset), (Page::new(1), 0x234));
    let frame = FrameRun::new(Frame::new(7), 1).unwrap();
    let attributes = X86::<false>::nearest(Attributes::new(Permissions::READ | Permissions::USER));
    table.map(page, frame, attributes, MapOptions::DEFAULT).unwrap().later();
    assert_eq!(table.find(address).map(|hit| hit.address), Some(PhysAddr::new(0x7234)));
    assert_eq!(X86::<false>::index(address, 0), 1, "ten bits, ten bits, twelve bits");
}
