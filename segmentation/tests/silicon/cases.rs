//! Random descriptors and accesses, each decided by the CPU and by the model.
use hectare_core::AccessKind;
use hectare_segmentation::x86::{Kind, Limit, Loaded, Ring, SegmentDescriptor, Selector, TableView};

use super::machine::{self, DATA, Machine, Outcome, SCRATCH};

/// Makes so many cases: how many accesses were permitted, and how many refused. Panics at the first mismatch. `None` if
/// this system cannot be asked.
pub(crate) fn run(cases: u32) -> Option<(u32, u32)> {
    let mut machine = Machine::new()?;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut refused, mut permitted) = (0_u32, 0_u32);
    for case in 0..cases {
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
    Some((permitted, refused))
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
