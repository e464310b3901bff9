//! What is wrong, or dangerous, in a descriptor table that someone else made.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::{Descriptor, Gate, GateKind, Kind, LongGate, LongSystem, Ring, SegmentDescriptor};

/// One remark about one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("entry {index} ({raw:#018x}): {rule}")]
pub struct Finding {
    /// The entry.
    pub index: usize,
    /// What stands there.
    pub raw: u64,
    /// The rule that it breaks.
    pub rule: Rule,
}

/// A rule of good tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rule {
    /// Entry 0 of a global table is never loaded, so what stands there is lost.
    #[error("entry 0 of a global table should be zero")]
    NullEntry,
    /// The CPU faults on code with L and D both set.
    #[error("64-bit code has its D bit set")]
    LongAndBig,
    /// The type is reserved.
    #[error("the type is reserved")]
    ReservedType,
    /// In 64-bit mode the type needs two entries, and the second is missing or has bits set that the CPU checks.
    #[error("the second half of a 16-byte descriptor is missing or not valid")]
    SecondHalf,
    /// In 64-bit mode the type does not exist.
    #[error("the type does not exist in 64-bit mode")]
    NotInLongMode,
    /// Programs can load a segment in which they may write what they may also execute through this one.
    #[error("programs can write what they can execute here")]
    WritableCode,
    /// A call gate that programs may use leads to more privileged code.
    #[error("programs can enter more privileged code through this gate")]
    OpenCallGate,
    /// A task state is shorter than 104 bytes.
    #[error("the task state is shorter than 104 bytes")]
    ShortTaskState,
}

/// Reads a global (`global`) or local table as a CPU in 64-bit mode (`long`) or without it would, and tells for each
/// entry the first [`Rule`] that it breaks, in ascending order. A gate's selector is looked up in this table, whichever
/// it names. O(entries), and O(entries^2) for segments that programs may execute.
///
/// ```
/// use hectare_segmentation::x86::{Ring, Rule, SegmentDescriptor, audit};
///
/// // What a loader left: its code has D set beside L, which makes every load of it fault.
/// let code = SegmentDescriptor { big: true, ..SegmentDescriptor::code64(Ring::Ring0) };
/// let gdt = [0, code.encode(), SegmentDescriptor::flat_data(Ring::Ring0).encode()];
/// let findings: Vec<_> = audit(&gdt, true, true).collect();
/// assert_eq!(findings.len(), 1);
/// assert_eq!((findings[0].index, findings[0].rule), (1, Rule::LongAndBig));
/// assert_eq!(findings[0].to_string(), "entry 1 (0x00ef9a000000ffff): 64-bit code has its D bit set");
/// ```
///
/// Flat tables always find [`Rule::WritableCode`]: code and data of a program are the same 4 GiB there, and only
/// paging keeps them apart. In 64-bit mode the rule is not applied, since bases and limits are not.
pub fn audit(entries: &[u64], global: bool, long: bool) -> impl Iterator<Item = Finding> + '_ {
    let mut second_half = false;
    entries.iter().enumerate().filter_map(move |(index, &raw)| {
        if core::mem::take(&mut second_half) {
            return None;
        }
        let wide = entries.get(index + 1).map(|&high| [raw, high]);
        let rule = if global && index == 0 {
            (raw != 0).then_some(Rule::NullEntry)
        } else {
            let (rule, is_wide) = one(entries, raw, wide, long);
            second_half = is_wide;
            rule
        };
        Some(Finding { index, raw, rule: rule? })
    })
}

/// The breach of one entry, and whether the next entry is its second half.
fn one(entries: &[u64], raw: u64, wide: Option<[u64; 2]>, long: bool) -> (Option<Rule>, bool) {
    match Descriptor::decode(raw) {
        Descriptor::Segment(segment) => (code(entries, segment, long), false),
        Descriptor::Gate(gate) => gates(entries, gate, wide, long),
        // An empty entry: reserved, but not present.
        Descriptor::System(system) if !system.present => (None, long && matches!(system.kind, 2 | 9 | 11)),
        Descriptor::System(system) => match (system.kind, long) {
            (1 | 3, false) | (2, false) => (None, false),
            (9 | 11, false) => ((system.limit.last() < 103).then_some(Rule::ShortTaskState), false),
            (2 | 9 | 11, true) => match wide.and_then(LongSystem::decode) {
                None => (Some(Rule::SecondHalf), true),
                Some(wide) if system.kind != 2 && wide.limit.last() < 103 => {
                    (Some(Rule::ShortTaskState), true)
                }
                Some(_) => (None, true),
            },
            (1 | 3, true) => (Some(Rule::NotInLongMode), false),
            _ => (Some(Rule::ReservedType), false),
        },
    }
}

fn code(entries: &[u64], segment: SegmentDescriptor, long: bool) -> Option<Rule> {
    let Kind::Code { .. } = segment.kind else { return None };
    if segment.long && segment.big {
        return Some(Rule::LongAndBig);
    }
    if long || !segment.present || segment.ring != Ring::Ring3 {
        return None;
    }
    let (start, end) = span(segment)?;
    let writable = entries.iter().any(|&raw| match Descriptor::decode(raw) {
        Descriptor::Segment(data) if data.present && data.ring == Ring::Ring3 => {
            let overlaps = span(data).is_some_and(|(first, last)| first <= end && start <= last);
            matches!(data.kind, Kind::Data { writable: true, .. }) && overlaps
        }
        _ => false,
    });
    writable.then_some(Rule::WritableCode)
}

fn gates(entries: &[u64], gate: Gate, wide: Option<[u64; 2]>, long: bool) -> (Option<Rule>, bool) {
    let call = matches!(gate.kind, GateKind::Call | GateKind::Call16);
    if !gate.present {
        return (None, long && call);
    }
    if long && gate.kind != GateKind::Call {
        return (Some(Rule::NotInLongMode), false);
    }
    if long && wide.and_then(LongGate::decode).is_none() {
        return (Some(Rule::SecondHalf), true);
    }
    let target = entries.get(usize::from(gate.selector.index())).map(|&raw| Descriptor::decode(raw));
    let privileged = matches!(target, Some(Descriptor::Segment(segment))
        if segment.ring < Ring::Ring3 && matches!(segment.kind, Kind::Code { conforming: false, .. }));
    ((call && gate.ring == Ring::Ring3 && privileged).then_some(Rule::OpenCallGate), long)
}

/// The linear addresses of a segment, first and last: of an expand-down segment those that it may reach, of one that
/// wraps around all. `None` if there is none.
fn span(segment: SegmentDescriptor) -> Option<(u64, u64)> {
    let limit = u64::from(segment.limit.last());
    let (first, last) = if matches!(segment.kind, Kind::Data { expand_down: true, .. }) {
        let last = if segment.big { u64::from(u32::MAX) } else { 0xFFFF };
        (limit < last).then_some((limit + 1, last))?
    } else {
        (0, limit)
    };
    let base = u64::from(segment.base);
    // A segment that wraps reaches all that lies outside: take it as everything.
    if base + first <= u64::from(u32::MAX) && base + last > u64::from(u32::MAX) {
        return Some((0, u64::from(u32::MAX)));
    }
    Some(((base + first) & 0xFFFF_FFFF, (base + last) & 0xFFFF_FFFF))
}
