//! Reading lines.
#![forbid(unsafe_code)]

use hectare_core::{Permissions, VirtAddr};
use thiserror::Error;

use super::{Label, MapsLine};

/// What a line should have had at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{expected} expected in column {column}")]
pub struct MapsError {
    /// The field that is missing or wrong.
    pub expected: &'static str,
    /// Where it should begin, in bytes from 0.
    pub column: usize,
}

/// The lines of a whole file, with their numbers from 1 in the errors.
pub fn lines(text: &str) -> impl Iterator<Item = Result<MapsLine<'_>, (usize, MapsError)>> {
    let numbered = text.lines().enumerate();
    numbered.map(|(nth, line)| MapsLine::read(line).map_err(|error| (nth + 1, error)))
}

/// What is left of a line.
struct Rest<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Rest<'a> {
    fn wrong(&self, expected: &'static str) -> MapsError {
        MapsError { expected, column: self.column }
    }

    /// What comes before `end`, and its length is above 0.
    fn word(&mut self, end: char, expected: &'static str) -> Result<&'a str, MapsError> {
        match self.text.split_once(end) {
            Some((word, rest)) if !word.is_empty() => {
                self.text = rest;
                self.column += word.len() + 1;
                Ok(word)
            }
            _ => Err(self.wrong(expected)),
        }
    }

    fn number(&mut self, end: char, radix: u32, expected: &'static str) -> Result<u64, MapsError> {
        let wrong = self.wrong(expected);
        let word = self.word(end, expected)?;
        let plain = word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        u64::from_str_radix(word, radix).ok().filter(|_| plain).ok_or(wrong)
    }

    fn short(&mut self, end: char, expected: &'static str) -> Result<u32, MapsError> {
        let wrong = self.wrong(expected);
        u32::try_from(self.number(end, 16, expected)?).map_err(|_| wrong)
    }
}

/// `rwxp`, with `-` for what is not permitted and `s` for shared.
fn letters(word: &str) -> Option<(Permissions, bool)> {
    let &[read, write, execute, sharing] = <&[u8; 4]>::try_from(word.as_bytes()).ok()?;
    let mut permissions = Permissions::USER;
    for (found, letter, right) in [
        (read, b'r', Permissions::READ),
        (write, b'w', Permissions::WRITE),
        (execute, b'x', Permissions::EXECUTE),
    ] {
        if found == letter {
            permissions |= right;
        } else if found != b'-' {
            return None;
        }
    }
    match sharing {
        b's' => Some((permissions, true)),
        b'p' => Some((permissions, false)),
        _ => None,
    }
}

impl<'a> MapsLine<'a> {
    /// Reads a line, with or without its line feed. The permissions get `USER`: only a program's areas are listed.
    ///
    /// # Errors
    /// The first field that is not as Linux writes it, or an area of no bytes.
    pub fn read(line: &'a str) -> Result<Self, MapsError> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let mut rest = Rest { text: line, column: 0 };
        let start = rest.number('-', 16, "the first address")?;
        let ends = rest.wrong("an address above the first");
        let end = rest.number(' ', 16, "the address of the end")?;
        if end <= start {
            return Err(ends);
        }
        let wrong = rest.wrong("permissions");
        let (permissions, shared) = letters(rest.word(' ', "permissions")?).ok_or(wrong)?;
        let offset = rest.number(' ', 16, "an offset")?;
        let device = (rest.short(':', "a major number")?, rest.short(' ', "a minor number")?);
        // Tools that strip the spaces at the ends of lines are forgiven.
        let inode = if rest.text.contains(' ') {
            rest.number(' ', 10, "an inode")?
        } else {
            let wrong = rest.wrong("an inode");
            let digits = rest.text.bytes().all(|byte| byte.is_ascii_digit());
            let inode = rest.text.parse().ok().filter(|_| digits).ok_or(wrong)?;
            rest.text = "";
            inode
        };
        let name = rest.text.trim_start_matches(' ');
        let label = Label { device, inode, name };
        let (start, end) = (VirtAddr::new(start), VirtAddr::new(end));
        Ok(Self { start, end, permissions, shared, offset, label })
    }
}
