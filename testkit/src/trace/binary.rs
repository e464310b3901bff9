//! What the three binary formats share: the header, and the loops over operations.

use super::cursor::{Input, Output};
use super::error::{Problem, TraceError};
use super::ledger::Ledger;

/// Length of the header without the name, in bytes.
const FIXED: u32 = 72;
/// The only version there is.
const VERSION: u16 = 1;
/// Flag bit 0: the recording is a prefix of the run.
const CUT: u16 = 1;

/// The header of a binary trace. What reads without an error agrees with the operations in every figure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What was recorded.
    pub name: String,
    /// Whether the recording is a prefix of the run.
    pub cut: bool,
    /// The number of slots: each is below it, each number below it is used, and it is the most that live at once.
    pub slots: u32,
    /// The number of threads (heap) or CPUs (frames, objects): each is below it.
    pub threads: u32,
    /// The most that was live at once: bytes asked for (heap), frames (frames) or bytes of whole objects (objects).
    pub peak_bytes: u64,
    /// The most objects that lived at once.
    pub peak_objects: u64,
    /// What is live at the end, in the units of `peak_bytes`.
    pub end_bytes: u64,
    /// The objects that live at the end.
    pub end_objects: u64,
    /// The number of operations that allocate, free, resize or split; those that only name a thread, CPU, task or cache
    /// do not count.
    pub ops: u64,
}

impl Header {
    fn from_ledger(name: String, cut: bool, ledger: &Ledger) -> Result<Self, Problem> {
        let found = ledger.used();
        let slots = u32::try_from(found).map_err(|_| Problem::Range { field: "slots", found })?;
        Ok(Self {
            name,
            cut,
            slots,
            threads: ledger.contexts.max(1),
            peak_bytes: ledger.peak_units,
            peak_objects: ledger.peak_objects,
            end_bytes: ledger.live_units,
            end_objects: ledger.live_objects,
            ops: ledger.ops,
        })
    }

    /// The figures in the order of [`FIGURES`].
    fn figures(&self) -> [u64; FIGURES.len()] {
        let (slots, threads) = (u64::from(self.slots), u64::from(self.threads));
        [self.ops, slots, threads, self.peak_bytes, self.peak_objects, self.end_bytes, self.end_objects]
    }
}

/// Name and offset of each figure.
const FIGURES: [(&str, u64); 7] = [
    ("op count", 16),
    ("slots", 32),
    ("threads", 36),
    ("peak bytes", 40),
    ("peak objects", 48),
    ("end bytes", 56),
    ("end objects", 64),
];

/// One binary format: how an operation is stored, and which are allowed. The value holds what came before.
pub(super) trait Format {
    /// The first four bytes.
    const MAGIC: &'static str;
    /// One operation.
    type Op: Copy;

    /// Reads the next operation; `None` is END.
    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Self::Op>, TraceError>;
    /// Whether `op` may come next, and what is so after it.
    fn apply(&mut self, op: Self::Op) -> Result<(), Problem>;
    /// Whether the operations may end here.
    fn finish(&self) -> Result<(), Problem> {
        Ok(())
    }
    /// Writes an operation.
    fn encode(&self, op: Self::Op, output: &mut Output);
    /// The books.
    fn ledger(&self) -> &Ledger;
}

/// Reads a whole file. `format` is the state before the first operation and is left as after the last.
pub(super) fn read<F: Format>(format: &mut F, bytes: &[u8]) -> Result<(Header, Vec<F::Op>), TraceError> {
    let (stated, mut input) = open(bytes, F::MAGIC)?;
    let mut ops = Vec::new();
    let mut at = input.offset();
    while let Some(op) = format.decode(&mut input)? {
        format.apply(op).map_err(|problem| problem.at(at))?;
        ops.push(op);
        at = input.offset();
    }
    format.finish().map_err(|problem| problem.at(at))?;
    if input.left() != 0 {
        return Err(Problem::Trailing.at(input.offset()));
    }
    let found = Header::from_ledger(stated.name.clone(), stated.cut, format.ledger())
        .map_err(|problem| problem.at(at))?;
    for (index, (field, at)) in FIGURES.into_iter().enumerate() {
        let (stated, found) = (stated.figures()[index], found.figures()[index]);
        if stated != found {
            return Err(Problem::Figure { field, stated, found }.at(at));
        }
    }
    if found.peak_objects != u64::from(found.slots) {
        let (stated, found) = (u64::from(found.slots), found.peak_objects);
        return Err(Problem::Figure { field: "slots", stated, found }.at(32));
    }
    ops.shrink_to_fit();
    Ok((stated, ops))
}

/// The header of these operations, if they keep the rules.
pub(super) fn header_of<F: Format>(
    format: &mut F,
    name: &str,
    cut: bool,
    ops: &[F::Op],
) -> Result<Header, TraceError> {
    let wrong = |index: usize, problem| TraceError::Op { index: index as u64, problem };
    for (index, op) in ops.iter().enumerate() {
        format.apply(*op).map_err(|problem| wrong(index, problem))?;
    }
    format.finish().map_err(|problem| wrong(ops.len(), problem))?;
    let header = Header::from_ledger(name.to_owned(), cut, format.ledger())
        .map_err(|problem| wrong(ops.len(), problem))?;
    Ok(header)
}

/// Writes a whole file, with the header as it is given.
pub(super) fn write<F: Format>(format: &F, header: &Header, ops: &[F::Op]) -> Vec<u8> {
    let mut output = Output::default();
    for op in ops {
        format.encode(*op, &mut output);
    }
    output.byte(0);
    let ops = output.bytes;
    let mut file = Vec::with_capacity(FIXED as usize + header.name.len() + ops.len());
    file.extend(F::MAGIC.as_bytes());
    file.extend(VERSION.to_le_bytes());
    file.extend(if header.cut { CUT } else { 0 }.to_le_bytes());
    let name_length = u32::try_from(header.name.len()).unwrap_or(u32::MAX - FIXED);
    file.extend((FIXED + name_length).to_le_bytes());
    file.extend(crc32fast::hash(&ops).to_le_bytes());
    file.extend(header.ops.to_le_bytes());
    file.extend((ops.len() as u64).to_le_bytes());
    file.extend(header.slots.to_le_bytes());
    file.extend(header.threads.to_le_bytes());
    for figure in [header.peak_bytes, header.peak_objects, header.end_bytes, header.end_objects] {
        file.extend(figure.to_le_bytes());
    }
    file.extend(header.name.as_bytes());
    file.extend(ops);
    file
}

/// Reads and checks the header; the input stands at the first operation.
fn open<'a>(bytes: &'a [u8], magic: &'static str) -> Result<(Header, Input<'a>), TraceError> {
    let mut input = Input::new(bytes, 0);
    if input.take(4)? != magic.as_bytes() {
        return Err(Problem::Magic { expected: magic }.at(0));
    }
    let version = u16::from_le_bytes(input.array()?);
    if version != VERSION {
        return Err(Problem::Version { found: u64::from(version) }.at(4));
    }
    let flags = u16::from_le_bytes(input.array()?);
    if flags & !CUT != 0 {
        return Err(Problem::Flags { found: u64::from(flags) }.at(6));
    }
    let header_length = u32::from_le_bytes(input.array()?);
    let stated_crc = u32::from_le_bytes(input.array()?);
    let ops = u64::from_le_bytes(input.array()?);
    let ops_length = u64::from_le_bytes(input.array()?);
    let mut header = Header { cut: flags & CUT != 0, ops, ..Header::default() };
    header.slots = u32::from_le_bytes(input.array()?);
    header.threads = u32::from_le_bytes(input.array()?);
    header.peak_bytes = u64::from_le_bytes(input.array()?);
    header.peak_objects = u64::from_le_bytes(input.array()?);
    header.end_bytes = u64::from_le_bytes(input.array()?);
    header.end_objects = u64::from_le_bytes(input.array()?);
    let name_length = header_length
        .checked_sub(FIXED)
        .filter(|length| *length as usize <= input.left())
        .ok_or(Problem::HeaderLength { found: u64::from(header_length) }.at(8))?;
    input.text(u64::from(name_length))?.clone_into(&mut header.name);
    let found = input.left() as u64;
    if ops_length != found {
        return Err(if found < ops_length {
            Problem::Truncated.at(bytes.len() as u64)
        } else {
            Problem::Figure { field: "ops bytes", stated: ops_length, found }.at(24)
        });
    }
    let ops = Input::new(bytes, header_length as usize);
    let found = crc32fast::hash(input.take(found)?);
    if found != stated_crc {
        return Err(Problem::Crc { stated: stated_crc, found }.at(12));
    }
    Ok((header, ops))
}
