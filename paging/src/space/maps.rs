//! `/proc/PID/maps`: one line for each area, written and read exactly as Linux does.
//!
//! ```text
//! 00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/dbus-daemon
//! └ start  └ end    │    └ offset │     └ inode                            └ name, from column 73 on
//!                   permissions   device, major:minor
//! ```
//! Numbers are hexadecimal but the inode; addresses and offsets have at least eight digits. A line without a name ends
//! with the space after the inode. A line feed in a name is written as `\012`, and stays so when it is read.
//! (`show_map_vma` in Linux's `fs/proc/task_mmu.c`.)
#![forbid(unsafe_code)]

mod read;

use core::fmt::{self, Write};

use hectare_core::{PageRun, PageSize, Permissions, VirtAddr};

pub use self::read::{MapsError, lines};
use super::{Area, AreaFlags, Backing};

/// The column in which a name begins.
const NAME: usize = 73;

/// What is mapped, as far as a line shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Label<'a> {
    /// The device of the file's system: major and minor number.
    pub device: (u32, u32),
    /// The file's number there; 0 for what is no file.
    pub inode: u64,
    /// The path, or a name in brackets; empty for nothing.
    pub name: &'a str,
}

impl<'a> Label<'a> {
    /// What is no file: `[stack]`, `[vdso]`.
    #[must_use]
    pub const fn special(name: &'a str) -> Self {
        Self { device: (0, 0), inode: 0, name }
    }
}

/// One line: an area in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapsLine<'a> {
    /// Its first byte.
    pub start: VirtAddr,
    /// The first byte after it.
    pub end: VirtAddr,
    /// Read, write, execute; and `USER`, which a line does not tell.
    pub permissions: Permissions,
    /// Whether writes are seen by others.
    pub shared: bool,
    /// The offset in what is mapped, in bytes.
    pub offset: u64,
    /// What is mapped.
    pub label: Label<'a>,
}

impl<'a> MapsLine<'a> {
    /// The line of an area with pages of this size; `None` if its addresses or offset do not fit 64 bits.
    #[must_use]
    pub fn of(area: &Area, size: PageSize, label: Label<'a>) -> Option<Self> {
        let offset = match area.backing() {
            Backing::Anonymous => 0,
            Backing::Object { offset, .. } | Backing::Device { frame: offset } => {
                offset.checked_mul(size.bytes())?
            }
        };
        Some(Self {
            start: area.first().start(size)?,
            end: area.end().start(size)?,
            permissions: area.permissions(),
            shared: area.is_shared(),
            offset,
            label,
        })
    }

    /// The area of a line, whose pages have this size, over what its reader knows to lie behind it. The offset counts for
    /// objects only. `None` if the addresses or the offset are no multiples of the size.
    #[must_use]
    pub fn area(&self, size: PageSize, backing: Backing) -> Option<Area> {
        let aligned = self.start.is_aligned(size) && self.end.is_aligned(size);
        let (first, end) = (self.start.split(size).0, self.end.split(size).0);
        let pages = PageRun::new(first, end.number().checked_sub(first.number())?)?;
        let backing = match backing {
            Backing::Object { id, .. } if self.offset & size.offset_mask() == 0 => {
                Backing::Object { id, offset: self.offset >> size.log2() }
            }
            Backing::Object { .. } => return None,
            other => other,
        };
        let mut flags = if self.shared { AreaFlags::SHARED } else { AreaFlags::empty() };
        flags |= match self.label.name {
            "[heap]" => AreaFlags::HEAP,
            "[stack]" => AreaFlags::GROWS_DOWN,
            _ => AreaFlags::empty(),
        };
        let area = Area::new(pages, self.permissions).with_backing(backing)?.with_flags(flags);
        aligned.then_some(area)
    }
}

/// Counts what goes through.
struct Counted<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    count: usize,
}

impl Write for Counted<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.count += text.len();
        self.to.write_str(text)
    }
}

impl fmt::Display for MapsLine<'_> {
    /// Without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { device: (major, minor), inode, name } = self.label;
        let sharing = if self.shared { 's' } else { 'p' };
        let mut out = Counted { to: f, count: 0 };
        write!(out, "{:08x}-{:08x} {}{sharing} ", self.start, self.end, self.permissions)?;
        write!(out, "{:08x} {major:02x}:{minor:02x} {inode} ", self.offset)?;
        if name.is_empty() {
            return Ok(());
        }
        for _ in out.count..NAME {
            out.write_char(' ')?;
        }
        // A name that would begin at once has its space already, as in Linux.
        for (nth, part) in name.split('\n').enumerate() {
            if nth > 0 {
                out.write_str("\\012")?;
            }
            out.write_str(part)?;
        }
        Ok(())
    }
}
