//! Table walkers written from the manuals alone, one for each architecture: they share nothing with the crate, so that a
//! bit that both get wrong must be wrong in two places. Slow and plain on purpose.

use hectare_core::Permissions;
use hectare_paging::format::aarch64::{self, AArch64, Stage2};
use hectare_paging::format::ept::{self, Ept};
use hectare_paging::format::riscv::{self, RiscV, Sv32};
use hectare_paging::format::{Format, Pae, SetBy, Toy, X86, X86_64, x86};
use hectare_paging::{Attributes, MemoryType, Touched};

/// Reads the entry of so many bytes at a physical address.
pub(crate) type Read<'a> = &'a dyn Fn(u64, u32) -> u64;

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) physical: u64,
    /// The translation covers 2^`bits` bytes.
    pub(crate) bits: u32,
    /// What unprivileged code may do right now; empty for pages of the kernel.
    pub(crate) user: Permissions,
    /// What the kernel may do right now.
    pub(crate) kernel: Permissions,
    pub(crate) memory: MemoryType,
    pub(crate) global: bool,
    pub(crate) accessed: bool,
    pub(crate) dirty: bool,
}

fn rights(read: bool, write: bool, execute: bool) -> Permissions {
    let mut rights = Permissions::empty();
    rights.set(Permissions::READ, read);
    rights.set(Permissions::WRITE, write);
    rights.set(Permissions::EXECUTE, execute);
    rights
}

fn field(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

/// The memory type that the PAT gives (SDM 3A, table "Memory Types That Can Be Encoded With PAT").
fn pat(pat: u64, pcd_pwt: u64) -> MemoryType {
    match field(x86::PAT, 63, 0) >> (8 * (pat << 2 | pcd_pwt)) & 0xFF {
        6 => MemoryType::WriteBack,
        4 => MemoryType::WriteThrough,
        1 => MemoryType::WriteCombining,
        0 | 7 => MemoryType::Uncached,
        other => panic!("memory type {other}"),
    }
}

/// SDM 3A, "4-Level Paging and 5-Level Paging"; CR0.WP = 1, NXE = 1, no SMEP, SMAP, protection keys.
fn x86_long(levels: u32, read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    let (mut write, mut user, mut execute, mut table) = (true, true, true, root);
    let top = field(va, 63, 11 + 9 * levels);
    if top != 0 && top != u64::MAX >> (11 + 9 * levels) {
        return None;
    }
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let e = read(table + 8 * field(va, shift + 8, shift), 8);
        if e & 1 == 0 {
            return None;
        }
        write &= e & 2 != 0;
        user &= e & 4 != 0;
        execute &= e >> 63 == 0;
        let large = field(e, 7, 7) == 1;
        if large && level > 2 {
            return None;
        }
        if level == 0 || large {
            if level > 0 && field(e, shift - 1, 13) != 0 {
                return None;
            }
            let both = rights(true, write, execute);
            return Some(Hit {
                physical: field(e, 51, shift) << shift | field(va, shift - 1, 0),
                bits: shift,
                user: if user { both } else { Permissions::empty() },
                kernel: both,
                memory: pat(if level == 0 { field(e, 7, 7) } else { field(e, 12, 12) }, field(e, 4, 3)),
                global: field(e, 8, 8) == 1,
                accessed: field(e, 5, 5) == 1,
                dirty: field(e, 6, 6) == 1,
            });
        }
        table = field(e, 51, 12) << 12;
    }
    None
}

/// SDM 3A, "PAE Paging".
fn x86_pae(read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    if va >> 32 != 0 {
        return None;
    }
    let pdpte = read(root + 8 * field(va, 31, 30), 8);
    if pdpte & 1 == 0 || field(pdpte, 2, 1) != 0 || field(pdpte, 8, 5) != 0 || field(pdpte, 63, 52) != 0 {
        return None;
    }
    let pde = read((field(pdpte, 51, 12) << 12) + 8 * field(va, 29, 21), 8);
    let (mut e, mut shift) = (pde, 21);
    if pde & 1 == 0 || field(pde, 62, 52) != 0 {
        return None;
    }
    if field(pde, 7, 7) == 0 {
        (e, shift) = (read((field(pde, 51, 12) << 12) + 8 * field(va, 20, 12), 8), 12);
        if e & 1 == 0 || field(e, 62, 52) != 0 {
            return None;
        }
    } else if field(pde, 20, 13) != 0 {
        return None;
    }
    let both = rights(true, e & pde & 2 != 0, (e | pde) >> 63 == 0);
    Some(Hit {
        physical: field(e, 51, shift) << shift | field(va, shift - 1, 0),
        bits: shift,
        user: if e & pde & 4 != 0 { both } else { Permissions::empty() },
        kernel: both,
        memory: pat(if shift == 12 { field(e, 7, 7) } else { field(e, 12, 12) }, field(e, 4, 3)),
        global: field(e, 8, 8) == 1,
        accessed: field(e, 5, 5) == 1,
        dirty: field(e, 6, 6) == 1,
    })
}

/// SDM 3A, "32-Bit Paging", with PSE and a PAT.
fn x86_legacy(pse36: bool, read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    if va >> 32 != 0 {
        return None;
    }
    let pde = read(root + 4 * field(va, 31, 22), 4);
    if pde & 1 == 0 {
        return None;
    }
    let (mut e, mut shift) = (pde, 22);
    let mut physical = field(pde, 31, 22) << 22 | field(va, 21, 0);
    if field(pde, 7, 7) == 0 {
        (e, shift) = (read((field(pde, 31, 12) << 12) + 4 * field(va, 21, 12), 4), 12);
        physical = field(e, 31, 12) << 12 | field(va, 11, 0);
        if e & 1 == 0 {
            return None;
        }
    } else if field(pde, 21, 21) != 0 || !pse36 && field(pde, 20, 13) != 0 {
        return None;
    } else {
        physical |= field(pde, 20, 13) << 32;
    }
    let both = rights(true, e & pde & 2 != 0, true);
    Some(Hit {
        physical,
        bits: shift,
        user: if e & pde & 4 != 0 { both } else { Permissions::empty() },
        kernel: both,
        memory: pat(if shift == 12 { field(e, 7, 7) } else { field(e, 12, 12) }, field(e, 4, 3)),
        global: field(e, 8, 8) == 1,
        accessed: field(e, 5, 5) == 1,
        dirty: field(e, 6, 6) == 1,
    })
}

/// SDM 3C, "EPT Translation Mechanism"; without mode-based execution.
fn ept(levels: u32, options: u8, read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    let (mut granted, mut table) = (7, root);
    if va >> (12 + 9 * levels) != 0 {
        return None;
    }
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let e = read(table + 8 * field(va, shift + 8, shift), 8);
        let misconfigured = matches!(e & 7, 2 | 6) || e & 7 == 4 && options & ept::EXECUTE_ONLY == 0;
        if e & 7 == 0 || misconfigured {
            return None;
        }
        granted &= e & 7;
        if level == 0 || field(e, 7, 7) == 1 {
            let memory = match field(e, 5, 3) {
                0 => MemoryType::Uncached,
                1 => MemoryType::WriteCombining,
                4 | 5 => MemoryType::WriteThrough,
                6 => MemoryType::WriteBack,
                _ => return None,
            };
            if level > 2 || level > 0 && field(e, shift - 1, 12) != 0 {
                return None;
            }
            let both = rights(granted & 1 != 0, granted & 2 != 0, granted & 4 != 0);
            return Some(Hit {
                physical: field(e, 51, shift) << shift | field(va, shift - 1, 0),
                bits: shift,
                user: both,
                kernel: both,
                memory,
                global: false,
                accessed: field(e, 8, 8) == 1,
                dirty: field(e, 9, 9) == 1,
            });
        }
        if field(e, 6, 3) != 0 {
            return None;
        }
        table = field(e, 51, 12) << 12;
    }
    None
}

/// Privileged Architecture, "Virtual Address Translation Process"; SUM = 1, MXR = 0.
fn riscv(levels: u32, options: u8, read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    let (bytes, index, top) = if levels == 2 { (4, 10, 33) } else { (8, 9, 55) };
    let width = 12 + index * levels;
    let high = if levels == 2 { va >> 32 } else { field(va, 63, width - 1) };
    if high != 0 && (levels == 2 || high != u64::MAX >> (width - 1)) {
        return None;
    }
    let mut table = root;
    for level in (0..levels).rev() {
        let shift = 12 + index * level;
        let e = read(table + u64::from(bytes) * field(va, shift + index - 1, shift), bytes);
        let (v, r, w, x, u) = (e & 1 != 0, e & 2 != 0, e & 4 != 0, e & 8 != 0, e & 16 != 0);
        let ppn = field(e, top - 2, 10) << 12;
        let pbmt = field(e, 62, 61);
        if !v || w && !r || field(e, 60, 54) != 0 || pbmt == 3 || pbmt != 0 && options & riscv::SVPBMT == 0 {
            return None;
        }
        if !r && !x {
            if field(e, 7, 6) != 0 || u || e >> 61 != 0 {
                return None;
            }
            table = ppn;
            continue;
        }
        let mut bits = shift;
        if e >> 63 == 1 {
            if options & riscv::SVNAPOT == 0 || level != 0 || field(e, 13, 10) != 8 {
                return None;
            }
            bits = 16;
        } else if ppn & ((1 << shift) - 1) != 0 {
            return None;
        }
        let both = rights(r, w, x);
        return Some(Hit {
            physical: ppn >> bits << bits | field(va, bits - 1, 0),
            bits,
            user: if u { both } else { Permissions::empty() },
            kernel: if u { both - Permissions::EXECUTE } else { both },
            memory: [MemoryType::WriteBack, MemoryType::WriteCombining, MemoryType::Device][pbmt as usize],
            global: field(e, 5, 5) == 1,
            accessed: field(e, 6, 6) == 1,
            dirty: field(e, 7, 7) == 1,
        });
    }
    None
}

/// Arm ARM, D8.2 and D8.3: both stages. `stage2` has concatenated roots and its own attributes.
fn vmsa(
    granule: u32,
    width: u32,
    options: u8,
    stage2: bool,
    read: Read<'_>,
    root: u64,
    va: u64,
) -> Option<Hit> {
    let wide = options & aarch64::LPA2 != 0;
    let upper = !stage2 && options & aarch64::UPPER != 0;
    if va >> width != if upper { u64::MAX >> width } else { 0 } {
        return None;
    }
    let index = granule - 3;
    // The start level, in Arm's counting down to 3; a stage 2 root may take up to four more bits.
    let mut start = 4 - (width - granule).div_ceil(index) as i32;
    if stage2 && (width - granule) % index <= 4 && (width - granule) % index != 0 {
        start += 1;
    }
    let out = |e: u64, shift: u32| match (wide, granule) {
        (false, _) => field(e, 47, shift) << shift,
        (true, 16) => field(e, 47, shift) << shift | field(e, 15, 12) << 48,
        (true, _) => field(e, 49, shift) << shift | field(e, 9, 8) << 50,
    };
    let mut table = root;
    for level in start..=3 {
        let shift = granule + index * (3 - level) as u32;
        let high = if level == start { width - 1 } else { shift + index - 1 };
        let e = read(table + 8 * field(va, high, shift), 8);
        let block = match (granule, level) {
            (12, 1 | 2) | (14 | 16, 2) => true,
            (12, 0) | (14 | 16, 1) => wide,
            _ => false,
        };
        match (e & 3, level) {
            (3, -1..3) => table = out(e, granule),
            (3, 3) => return Some(leaf(e, shift, out(e, shift), stage2, options, va)),
            (1, _) if block => return Some(leaf(e, shift, out(e, shift), stage2, options, va)),
            _ => return None,
        }
    }
    None
}

fn leaf(e: u64, shift: u32, out: u64, stage2: bool, options: u8, va: u64) -> Hit {
    let bit = |n: u32| field(e, n, n) == 1;
    let managed = options & aarch64::HARDWARE_DIRTY == aarch64::HARDWARE_DIRTY && bit(51);
    let (user, kernel, memory, clean);
    if stage2 {
        let both = rights(bit(6), bit(7) || managed, field(e, 54, 53) == 0);
        (user, kernel, clean) = (both, both, !bit(7));
        memory = match field(e, 5, 2) {
            0 => MemoryType::DeviceStrict,
            1 => MemoryType::Device,
            5 => MemoryType::WriteCombining,
            10 => MemoryType::WriteThrough,
            15 => MemoryType::WriteBack,
            other => panic!("memory type {other}"),
        };
    } else {
        let write = !bit(7) || managed;
        clean = bit(7);
        user = rights(bit(6), bit(6) && write, !bit(54));
        kernel = rights(true, write, !(bit(53) || bit(6) && write));
        memory = match aarch64::MAIR >> (8 * field(e, 4, 2)) & 0xFF {
            0xFF => MemoryType::WriteBack,
            0xBB => MemoryType::WriteThrough,
            0x44 => MemoryType::WriteCombining,
            0x04 => MemoryType::Device,
            0x00 => MemoryType::DeviceStrict,
            other => panic!("memory attribute {other:#x}"),
        };
    }
    let physical = out | field(va, shift - 1, 0);
    let (accessed, dirty) = (bit(10), bit(55) || !clean);
    Hit { physical, bits: shift, user, kernel, memory, global: !stage2 && !bit(11), accessed, dirty }
}

/// The toy's own walker, from the picture above it.
fn toy(levels: u32, index: u32, read: Read<'_>, root: u64, va: u64) -> Option<Hit> {
    let mut table = root;
    if va >> (12 + levels * index) != 0 {
        return None;
    }
    for level in (0..levels).rev() {
        let shift = 12 + index * level;
        let e = read(table + 8 * field(va, shift + index - 1, shift), 8);
        let physical = field(e, 63, 16) << 12;
        if e & 1 == 0 {
            return None;
        }
        if field(e, 7, 7) == 0 {
            table = physical;
            continue;
        }
        if physical & ((1 << shift) - 1) != 0 {
            return None;
        }
        let both = rights(field(e, 1, 1) == 1, field(e, 2, 2) == 1, field(e, 3, 3) == 1);
        return Some(Hit {
            physical: physical | field(va, shift - 1, 0),
            bits: shift,
            user: if field(e, 4, 4) == 1 { both } else { Permissions::empty() },
            kernel: both,
            memory: match field(e, 12, 10) {
                0 => MemoryType::WriteBack,
                1 => MemoryType::WriteThrough,
                2 => MemoryType::WriteCombining,
                3 => MemoryType::Uncached,
                4 => MemoryType::Device,
                _ => MemoryType::DeviceStrict,
            },
            global: field(e, 9, 9) == 1,
            accessed: field(e, 5, 5) == 1,
            dirty: field(e, 6, 6) == 1,
        });
    }
    None
}

/// A format and the walker that knows it from the manual.
pub(crate) trait Walked: Format {
    fn walk(read: Read<'_>, root: u64, va: u64) -> Option<Hit>;
}

macro_rules! walked {
    ($([$($generics:tt)*] $format:ty: |$read:ident, $root:ident, $va:ident| $walk:expr;)*) => {$(
        impl<$($generics)*> Walked for $format {
            fn walk($read: Read<'_>, $root: u64, $va: u64) -> Option<Hit> {
                $walk
            }
        }
    )*};
}
walked! {
    [const L: usize] X86_64<L>: |read, root, va| x86_long(L as u32, read, root, va);
    [] Pae: |read, root, va| x86_pae(read, root, va);
    [const P: bool] X86<P>: |read, root, va| x86_legacy(P, read, root, va);
    [const L: usize, const O: u8] Ept<L, O>: |read, root, va| ept(L as u32, O, read, root, va);
    [const O: u8] Sv32<O>: |read, root, va| riscv(2, O, read, root, va);
    [const L: usize, const O: u8] RiscV<L, O>: |read, root, va| riscv(L as u32, O, read, root, va);
    [const G: u8, const B: u8, const O: u8] AArch64<G, B, O>: |read, root, va|
        vmsa(G.into(), B.into(), O, false, read, root, va);
    [const G: u8, const B: u8, const O: u8] Stage2<G, B, O>: |read, root, va|
        vmsa(G.into(), B.into(), O, true, read, root, va);
    [const L: usize, const I: u8, const R: u8] Toy<L, I, R>: |read, root, va| toy(L as u32, I.into(), read, root, va);
}

/// What the walker must find for a leaf. Of a page of the user the kernel may have less, never more.
pub(crate) fn expect<F: Format>(
    hit: Hit,
    physical: u64,
    bits: u32,
    attributes: Attributes,
    touched: Touched,
) {
    assert_eq!((hit.physical, hit.bits, hit.memory), (physical, bits, attributes.memory), "{}", F::NAME);
    assert_eq!((hit.global, hit.accessed, hit.dirty), (attributes.global, touched.accessed, touched.dirty));
    let user = attributes.permissions.contains(Permissions::USER);
    let mut rights = attributes.permissions - Permissions::USER;
    if F::BREAK_BEFORE_MAKE && F::DIRTY == SetBy::Fault && !touched.dirty {
        rights -= Permissions::WRITE; // The first write faults.
    }
    assert_eq!(hit.user, if user { rights } else { Permissions::empty() }, "{}", F::NAME);
    assert!(if user { rights.contains(hit.kernel) } else { hit.kernel == rights }, "{} {hit:?}", F::NAME);
}
