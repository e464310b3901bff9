//! The x86 model against a CPU.
//!
//! Linux lets any program write descriptors into its own local table (`modify_ldt`). Each case here writes a random
//! one, asks the CPU to decode it (LSL, LAR, VERR, VERW), and in 32-bit mode loads it and makes one access through it.
//! What the CPU does must be what the model says: which exception with which error code, or which linear address.
//!
//! ```text
//!   64-bit test ──far return──► low page, 32-bit code:  mov gs, ax │ access gs:[edx] │ far jump ──► 64-bit again
//!                                      └── #GP, #NP ──┴── #GP, #PF ──┘ ──signal──► notes it, resumes at the end
//! ```
//! A page fault counts as an access that the segment permitted: it tells the linear address.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test that pokes at the CPU")]

#[path = "silicon/machine.rs"]
mod machine;

use hectare_core::AccessKind;
use hectare_segmentation::x86::{
    Exception, Kind, Limit, Loaded, Ring, SegmentDescriptor, Selector, TableView,
};
use machine::{DATA, Machine, Outcome, SCRATCH};

const CASES: u32 = 100_000;

#[test]
fn the_model_does_what_the_cpu_does() {
    let Some(mut machine) = Machine::new() else {
        println!("SKIPPED: this system has no modify_ldt, or no 32-bit mode");
        return;
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut refused, mut permitted) = (0_u32, 0_u32);
    for case in 0..CASES {
        let access = random.access();
        let descriptor = random.descriptor(access.offset);
        let kind = if access.write { AccessKind::Write } else { AccessKind::Read };
        if !machine.describe(&descriptor) {
            continue; // The kernel takes some descriptors for a request to clear the entry.
        }
        let accessed = SegmentDescriptor { accessed: true, ..descriptor };
        assert_eq!(machine.read_back(), accessed.encode(), "case {case}: {descriptor:?}");
        decoding(&machine, &accessed);

        let local = [descriptor.encode()];
        let selector = Selector::from_bits(machine::SELECTOR);
        let loaded = TableView { global: &[0], local: &local }.load_data(selector, Ring::Ring3);
        let expected =
            loaded.and_then(|register| Ok((register, register.access(access.offset, access.bytes, kind)?)));
        if let Ok((_, linear)) = expected {
            // The test's own stack must stay as it is, and an access that wraps has two addresses.
            if access.write && SCRATCH.contains(&linear) || linear.checked_add(access.bytes).is_none() {
                continue;
            }
        }
        let outcome = machine.access(access.offset, access.bytes, access.write);
        let agrees = match (expected, outcome) {
            (Err(exception), Outcome::Load(vector, code)) => {
                loaded.is_err() && exception.vector() == (vector, code)
            }
            (Err(exception), Outcome::Access(vector, code)) => {
                matches!(loaded, Ok(Loaded::Segment(_))) && exception.vector() == (vector, code)
            }
            (Ok((_, linear)), Outcome::Page(address)) => address.wrapping_sub(linear) < access.bytes,
            (Ok((_, linear)), Outcome::Done) => DATA.contains(&linear) || SCRATCH.contains(&linear),
            (Err(_), Outcome::Page(_) | Outcome::Done) | (Ok(_), Outcome::Load(..) | Outcome::Access(..)) => {
                false
            }
        };
        assert!(
            agrees,
            "case {case}: {descriptor:?} {access:x?}: the CPU did {outcome:x?}, the model {expected:x?}"
        );
        if expected.is_ok() { permitted += 1 } else { refused += 1 }
    }
    println!("{permitted} accesses permitted, {refused} refused, 0 mismatches");
    assert!(permitted > CASES / 10 && refused > CASES / 10, "both outcomes are tried");
}

/// The null selector and a selector beyond the table.
#[test]
fn selectors_without_a_descriptor() {
    let Some(mut machine) = Machine::new() else {
        println!("SKIPPED: this system has no modify_ldt, or no 32-bit mode");
        return;
    };
    assert_eq!(machine.access_through(0, 0, 1, false), Outcome::Access(13, 0));
    let beyond = 0xFFFF;
    assert_eq!(machine.access_through(beyond, 0, 1, false), Outcome::Load(13, 0xFFFC));
    let tables = TableView { global: &[0], local: &[] };
    assert_eq!(
        tables.load_data(Selector::from_bits(beyond), Ring::Ring3),
        Err(Exception::Protection(0xFFFC))
    );
}

/// LSL, LAR, VERR and VERW.
fn decoding(machine: &Machine, descriptor: &SegmentDescriptor) {
    let (readable, writable) = match descriptor.kind {
        Kind::Data { writable, .. } => (true, writable),
        Kind::Code { readable, .. } => (readable, false),
    };
    assert_eq!(machine.last_offset(), Some(descriptor.limit.last()), "{descriptor:?}");
    let rights = (descriptor.encode() >> 32) as u32 & 0x00F0_FF00;
    assert_eq!(machine.rights(), Some(rights), "{descriptor:?}");
    assert_eq!((machine.readable(), machine.writable()), (readable, writable), "{descriptor:?}");
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    offset: u32,
    bytes: u32,
    write: bool,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    fn access(&mut self) -> Attempt {
        let offset = match self.next() % 4 {
            0 => self.next(),
            1 => self.next() % 0x2_0000,
            2 => (self.next() % 0x40).wrapping_sub(0x20),
            _ => (self.next() % 0x1000) << 12 | [0, 0xFFC, 0xFFF][(self.next() % 3) as usize],
        };
        Attempt { offset, bytes: 1 << (self.next() % 3), write: self.next() % 2 == 0 }
    }

    /// A descriptor for ring 3, its limit often near the offset, its base often such that the access hits the data.
    fn descriptor(&mut self, offset: u32) -> SegmentDescriptor {
        let near = offset.wrapping_add(self.next() % 9).wrapping_sub(4);
        let pages = self.next() % 2 == 0;
        let field = match self.next() % 3 {
            0 => self.next() & 0xF_FFFF,
            _ if pages => near >> 12,
            _ => near & 0xF_FFFF,
        };
        let kind = match self.next() % 6 {
            0 => Kind::Code { conforming: false, readable: true },
            1 => Kind::Code { conforming: false, readable: false },
            kind => Kind::Data { expand_down: kind < 4, writable: kind % 2 == 0 },
        };
        let base = if self.next() % 4 == 0 {
            self.next()
        } else {
            (DATA.start + self.next() % 0x1_0000).wrapping_sub(offset)
        };
        SegmentDescriptor {
            base,
            limit: Limit::new(field, pages).unwrap(),
            kind,
            ring: Ring::Ring3,
            present: self.next() % 8 != 0,
            accessed: false,
            available: self.next() % 2 == 0,
            long: false,
            big: self.next() % 2 == 0,
        }
    }
}
