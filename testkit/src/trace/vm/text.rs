//! VMTRC as text: lines of fields with single spaces between them.

use core::fmt::Write;

use super::{Access, AccessKind, Action, Mapping, Permissions, Privilege, Problem, Rules};
use super::{TraceError, VmOp, VmTrace};

/// The only version there is.
const VERSION: u64 = 1;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The fields of one line that are still to be read.
#[derive(Debug)]
struct Fields<'a> {
    rest: &'a str,
    at: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next line; `None` at the end of the file. A last line without its newline is a truncated one.
    fn next(&mut self) -> Result<Option<Fields<'a>>, TraceError> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let at = self.at as u64;
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(Problem::Truncated.at(self.bytes.len() as u64));
        };
        let line = str::from_utf8(&rest[..length])
            .map_err(|error| Problem::NotUtf8.at(at + error.valid_up_to() as u64))?;
        self.at += length + 1;
        Ok(Some(Fields { rest: line, at }))
    }

    /// The next line, which begins with `key`.
    fn header(&mut self, key: &'static str) -> Result<Fields<'a>, TraceError> {
        let Some(mut line) = self.next()? else { return Err(Problem::Truncated.at(self.at as u64)) };
        let at = line.at;
        if line.word(key)? == key { Ok(line) } else { Err(Problem::Expected { field: key }.at(at)) }
    }
}

impl<'a> Fields<'a> {
    /// The next field.
    fn word(&mut self, field: &'static str) -> Result<&'a str, TraceError> {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        if word.is_empty() {
            return Err(Problem::Expected { field }.at(self.at));
        }
        // A space at the end of a line is not skipped: it announces a field that is not there.
        let taken = if rest.is_empty() { word.len() } else { word.len() + 1 };
        self.rest = &self.rest[taken..];
        self.at += taken as u64;
        Ok(word)
    }

    /// The rest of the line: a name, which may hold spaces.
    fn name(mut self, field: &'static str) -> Result<String, TraceError> {
        let name = core::mem::take(&mut self.rest);
        if name.is_empty() || name.trim() != name || name.contains(char::is_control) {
            return Err(Problem::Expected { field }.at(self.at));
        }
        Ok(name.to_owned())
    }

    /// Nothing may follow.
    fn end(self) -> Result<(), TraceError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Problem::Expected { field: "end of line" }.at(self.at))
        }
    }

    /// What `parse` makes of the next field.
    fn parse<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, TraceError> {
        let at = self.at;
        let word = self.word(field)?;
        parse(word).ok_or(Problem::Expected { field }.at(at))
    }

    fn decimal(&mut self, field: &'static str) -> Result<u64, TraceError> {
        self.parse(field, |word| digits(word, 10))
    }

    fn process(&mut self, field: &'static str) -> Result<u32, TraceError> {
        self.parse(field, |word| u32::try_from(digits(word, 10)?).ok())
    }

    fn hex(&mut self, field: &'static str) -> Result<u64, TraceError> {
        self.parse(field, |word| digits(word, 16))
    }

    /// `prot`: bits 1 read, 2 write, 4 execute.
    fn protection(&mut self) -> Result<Permissions, TraceError> {
        self.parse("protection", |word| {
            let bits = u8::try_from(digits(word, 16)?).ok().filter(|bits| *bits <= 7)?;
            Some(Permissions::from_bits_retain(bits) | Permissions::USER)
        })
    }

    /// `rwxp`, with `-` for what is not permitted and `s` for shared.
    fn letters(&mut self) -> Result<(Permissions, bool), TraceError> {
        self.parse("permissions", |word| {
            let mut permissions = Permissions::USER;
            let &[r, w, x, sharing] = <&[u8; 4]>::try_from(word.as_bytes()).ok()?;
            for (found, letter, right) in
                [(r, b'r', Permissions::READ), (w, b'w', Permissions::WRITE), (x, b'x', Permissions::EXECUTE)]
            {
                match found {
                    found if found == letter => permissions |= right,
                    b'-' => {}
                    _ => return None,
                }
            }
            match sharing {
                b's' => Some((permissions, true)),
                b'p' => Some((permissions, false)),
                _ => None,
            }
        })
    }
}

/// A number of digits only (no sign), that fits 64 bits.
fn digits(word: &str, radix: u32) -> Option<u64> {
    if word.starts_with('+') { None } else { u64::from_str_radix(word, radix).ok() }
}

pub(super) fn read(lines: &mut Lines<'_>) -> Result<VmTrace, TraceError> {
    if !lines.bytes.starts_with(b"VMTRC ") {
        return Err(Problem::Magic { expected: "VMTRC" }.at(0));
    }
    let number = |lines: &mut Lines<'_>, key| -> Result<(u64, u64), TraceError> {
        let mut line = lines.header(key)?;
        let at = line.at;
        let number = line.decimal(key)?;
        line.end()?;
        Ok((number, at))
    };
    let (found, at) = number(lines, "VMTRC")?;
    if found != VERSION {
        return Err(Problem::Version { found }.at(at));
    }
    let name = lines.header("name")?.name("name")?;
    let (page, at) = number(lines, "page")?;
    if !page.is_power_of_two() {
        return Err(Problem::Range { field: "page", found: page }.at(at));
    }
    let (processes, processes_at) = number(lines, "procs")?;
    let (records, records_at) = number(lines, "records")?;
    let mut rules = Rules::new(page);
    let mut ops = Vec::new();
    while let Some(line) = lines.next()? {
        let at = line.at;
        let op = record(line)?;
        rules.apply(&op).map_err(|problem| problem.at(at))?;
        ops.push(op);
    }
    for (field, stated, found, at) in [
        ("procs", processes, u64::from(rules.processes()), processes_at),
        ("records", records, ops.len() as u64, records_at),
    ] {
        if stated != found {
            return Err(Problem::Figure { field, stated, found }.at(at));
        }
    }
    Ok(VmTrace { name, page, processes: rules.processes(), ops })
}

fn record(mut line: Fields<'_>) -> Result<VmOp, TraceError> {
    let at = line.at;
    let key = line.word("record")?;
    let process = line.process("process")?;
    let action = match key {
        "X" => return Ok(VmOp { process, action: Action::Exec { command: line.name("command")? } }),
        "I" => {
            let (start, end) = (line.hex("start")?, line.hex("end")?);
            let (permissions, shared) = line.letters()?;
            let grows_down = line.parse("d or -", |word| match word {
                "d" => Some(true),
                "-" => Some(false),
                _ => None,
            })?;
            let offset = line.hex("offset")?;
            let mapping = Mapping { start, end, permissions, shared, name: line.name("name")? };
            return Ok(VmOp { process, action: Action::Initial { mapping, grows_down, offset } });
        }
        "Z" => {
            let (start, end) = (line.hex("start")?, line.hex("end")?);
            let (permissions, shared) = line.letters()?;
            let mapping = Mapping { start, end, permissions, shared, name: line.name("name")? };
            return Ok(VmOp { process, action: Action::Final { mapping } });
        }
        "m" => Action::Map {
            start: line.hex("start")?,
            length: line.hex("length")?,
            permissions: line.protection()?,
            flags: line.hex("flags")?,
            file: line.parse("file number", |word| word.parse().ok())?,
            offset: line.hex("offset")?,
        },
        "u" => Action::Unmap { start: line.hex("start")?, length: line.hex("length")? },
        "p" => Action::Protect {
            start: line.hex("start")?,
            length: line.hex("length")?,
            permissions: line.protection()?,
        },
        "b" => Action::Break { old: line.hex("old break")?, new: line.hex("new break")? },
        "r" => Action::Remap {
            old: line.hex("old start")?,
            old_length: line.hex("old length")?,
            new_length: line.hex("new length")?,
            flags: line.hex("flags")?,
            new: line.hex("new start")?,
        },
        "a" => Action::Advise {
            start: line.hex("start")?,
            length: line.hex("length")?,
            advice: line.hex("advice")?,
        },
        "g" => Action::GrowStack { start: line.hex("start")? },
        "f" | "k" => {
            let privilege = if key == "f" { Privilege::User } else { Privilege::Kernel };
            let address = line.hex("address")?;
            let (kind, present) = line.parse("kind of fault", |word| {
                let kind = match word.as_bytes().first()? {
                    b'r' => AccessKind::Read,
                    b'w' => AccessKind::Write,
                    b'x' => AccessKind::Execute,
                    _ => return None,
                };
                match &word[1..] {
                    "" => Some((kind, false)),
                    "+" => Some((kind, true)),
                    _ => None,
                }
            })?;
            Action::Fault { address, access: Access { kind, privilege }, present }
        }
        "F" => Action::Fork { child: line.process("child")? },
        "E" => Action::End,
        _ => return Err(Problem::Expected { field: "record" }.at(at)),
    };
    line.end()?;
    Ok(VmOp { process, action })
}

pub(super) fn write(trace: &VmTrace) -> String {
    let VmTrace { name, page, processes, ops } = trace;
    let mut text = String::new();
    let header =
        format!("VMTRC {VERSION}\nname {name}\npage {page}\nprocs {processes}\nrecords {}\n", ops.len());
    text.push_str(&header);
    for op in ops {
        // Writing to a string cannot fail.
        let _ = line(&mut text, op);
    }
    text
}

fn line(text: &mut String, op: &VmOp) -> core::fmt::Result {
    let process = op.process;
    let bits = |permissions: &Permissions| permissions.bits() & 7;
    let sharing = |mapping: &Mapping| if mapping.shared { 's' } else { 'p' };
    match &op.action {
        Action::Exec { command } => writeln!(text, "X {process} {command}"),
        Action::Initial { mapping, grows_down, offset } => {
            let Mapping { start, end, permissions, name, .. } = mapping;
            let (sharing, grows) = (sharing(mapping), if *grows_down { 'd' } else { '-' });
            writeln!(text, "I {process} {start:x} {end:x} {permissions}{sharing} {grows} {offset:x} {name}")
        }
        Action::Final { mapping } => {
            let Mapping { start, end, permissions, name, .. } = mapping;
            writeln!(text, "Z {process} {start:x} {end:x} {permissions}{} {name}", sharing(mapping))
        }
        Action::Map { start, length, permissions, flags, file, offset } => {
            let bits = bits(permissions);
            writeln!(text, "m {process} {start:x} {length:x} {bits:x} {flags:x} {file} {offset:x}")
        }
        Action::Unmap { start, length } => writeln!(text, "u {process} {start:x} {length:x}"),
        Action::Protect { start, length, permissions } => {
            writeln!(text, "p {process} {start:x} {length:x} {:x}", bits(permissions))
        }
        Action::Break { old, new } => writeln!(text, "b {process} {old:x} {new:x}"),
        Action::Remap { old, old_length, new_length, flags, new } => {
            writeln!(text, "r {process} {old:x} {old_length:x} {new_length:x} {flags:x} {new:x}")
        }
        Action::Advise { start, length, advice } => {
            writeln!(text, "a {process} {start:x} {length:x} {advice:x}")
        }
        Action::GrowStack { start } => writeln!(text, "g {process} {start:x}"),
        Action::Fault { address, access, present } => {
            let key = if access.privilege == Privilege::User { 'f' } else { 'k' };
            let kind = match access.kind {
                AccessKind::Read => 'r',
                AccessKind::Write => 'w',
                AccessKind::Execute => 'x',
            };
            writeln!(text, "{key} {process} {address:x} {kind}{}", if *present { "+" } else { "" })
        }
        Action::Fork { child } => writeln!(text, "F {process} {child}"),
        Action::End => writeln!(text, "E {process}"),
    }
}
