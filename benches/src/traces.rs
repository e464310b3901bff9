//! Which traces: shipped ones, embedded in the program so that it works anywhere, and files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hectare_testkit::trace::heap::{HeapOp, HeapTrace};
use hectare_testkit::trace::{decompress, load};

use crate::heap::{Builder, Invalid, Program};
use crate::kind::Kind;

/// A trace that ships with the program.
#[derive(Debug)]
pub struct Shipped {
    /// What is replayed.
    pub kind: Kind,
    /// The name.
    pub name: &'static str,
    /// What the program did.
    pub about: &'static str,
    bytes: &'static [u8],
}

macro_rules! shipped {
    ($($kind:ident $name:literal $about:literal,)*) => {
        /// All of them.
        pub static SHIPPED: &[Shipped] = &[$(Shipped {
            kind: Kind::$kind,
            name: $name,
            about: $about,
            bytes: include_bytes!(concat!("../traces/heap/", $name, ".htrc.zst")),
        },)*];
    };
}
shipped! {
    Heap "sqlite-db" "SQLite fills and queries a database",
    Heap "lua-life" "Lua plays the game of life",
    Heap "git-log" "git walks a history",
    Heap "cc1-lua" "the C compiler translates Lua",
    Heap "mosquitto" "an MQTT broker serves clients",
    Heap "perl-words" "Perl counts words",
    Heap "jq-json" "jq reads a large document",
}

/// Where one trace comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Embedded.
    Shipped(&'static Shipped),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// A file with this name, or else the shipped trace that bears it.
    #[must_use]
    pub fn named(kind: Kind, name: &OsStr) -> Self {
        let shipped = SHIPPED.iter().find(|s| s.kind == kind && name == s.name);
        match shipped {
            Some(shipped) if !Path::new(name).exists() => Self::Shipped(shipped),
            _ => Self::File(PathBuf::from(name)),
        }
    }

    /// The name to find it again: a path, or a shipped trace's name.
    #[must_use]
    pub fn argument(&self) -> &OsStr {
        match self {
            Self::Shipped(shipped) => shipped.name.as_ref(),
            Self::File(path) => path.as_os_str(),
        }
    }

    /// What the program did, if that is known.
    #[must_use]
    pub fn about(&self) -> Option<&'static str> {
        let stem = match self {
            Self::Shipped(shipped) => return Some(shipped.about),
            Self::File(path) => path.file_name()?.to_str()?.split('.').next()?,
        };
        SHIPPED.iter().find(|s| s.name == stem).map(|s| s.about)
    }

    /// Reads it as a heap trace.
    ///
    /// # Errors
    /// A sentence that names the file, what is wrong, and the byte offset.
    pub fn heap(&self) -> Result<Program, String> {
        let name = self.argument().to_string_lossy();
        let bytes = match self {
            Self::Shipped(shipped) => decompress(shipped.bytes),
            Self::File(path) => load(path),
        };
        let trace =
            bytes.and_then(|bytes| HeapTrace::read(&bytes)).map_err(|error| format!("{name}: {error}"))?;
        program(&trace).map_err(|(index, invalid)| match invalid {
            Invalid::Size => {
                format!("{name}: operation {index} asks for more than 2 GiB, which is not replayed")
            }
            Invalid::State => format!("{name}: operation {index} uses an object in the wrong state"),
        })
    }
}

fn program(trace: &HeapTrace) -> Result<Program, (usize, Invalid)> {
    let mut builder = Builder::default();
    for (index, op) in trace.ops.iter().enumerate() {
        match *op {
            HeapOp::Allocate { slot, size, align_log2, zeroed } => {
                builder.allocate(slot, size, align_log2, zeroed)
            }
            HeapOp::Free { slot } => builder.free(slot),
            HeapOp::Reallocate { slot, size } => builder.reallocate(slot, size),
            HeapOp::Thread { thread } => {
                builder.thread(thread);
                Ok(())
            }
        }
        .map_err(|invalid| (index, invalid))?;
    }
    Ok(builder.finish(&trace.header.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_trace_reads() {
        for shipped in SHIPPED {
            let program = Source::Shipped(shipped).heap().unwrap();
            assert_eq!(program.name(), shipped.name);
            assert!(program.ops().len() > 100_000);
        }
    }
}
