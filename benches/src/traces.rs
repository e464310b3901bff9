//! Which traces: shipped ones, embedded in the program so that it works anywhere, and files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hectare_testkit::trace::frames::FrameTrace;
use hectare_testkit::trace::heap::{HeapOp, HeapTrace};
use hectare_testkit::trace::objects::ObjectTrace;
use hectare_testkit::trace::vm::VmTrace;
use hectare_testkit::trace::{TraceError, decompress, load};

use crate::frames::{self, MADE, Made};
use crate::heap::{Builder, Invalid, Program};
use crate::kind::Kind;
use crate::objects;
use crate::ranges;

/// A trace that ships with the program.
#[derive(Debug)]
pub struct Shipped {
    /// What is replayed.
    pub kind: Kind,
    /// The name.
    pub name: &'static str,
    /// What the program did.
    pub about: &'static str,
    content: Content,
}

/// A recorded file, or how to make a run.
#[derive(Debug)]
enum Content {
    File(&'static [u8]),
    Made(&'static Made),
}

macro_rules! shipped {
    ($($folder:literal $extension:literal $kind:ident $name:literal $about:literal,)*) => {
        /// All of them.
        pub static SHIPPED: &[Shipped] = &[
            $(Shipped {
                kind: Kind::$kind,
                name: $name,
                about: $about,
                content: Content::File(
                    include_bytes!(concat!("../traces/", $folder, "/", $name, ".", $extension, ".zst"))
                ),
            },)*
            made(&MADE[0]),
            made(&MADE[1]),
        ];
    };
}
shipped! {
    "heap" "htrc" Heap "sqlite-db" "SQLite fills and queries a database",
    "heap" "htrc" Heap "lua-life" "Lua plays the game of life",
    "heap" "htrc" Heap "git-log" "git walks a history",
    "heap" "htrc" Heap "cc1-lua" "the C compiler translates Lua",
    "heap" "htrc" Heap "mosquitto" "an MQTT broker serves clients",
    "heap" "htrc" Heap "perl-words" "Perl counts words",
    "heap" "htrc" Heap "jq-json" "jq reads a large document",
    "vm" "vmtrc" Ranges "make3" "address spaces of a build with three programs",
    "vm" "vmtrc" Ranges "python" "the address space of a Python program",
    "vm" "vmtrc" Ranges "rustc" "the address space of the Rust compiler",
    "vm" "vmtrc" Vm "redis-bgsave" "a database server that forks to save",
    "frames" "ftrc" Frames "fr-make" "Linux serves a build with two jobs",
    "frames" "ftrc" Frames "fr-mix" "Linux serves a mix of programs",
    "objects" "ktrc" Objects "k-files" "Linux serves programs that work with files and sockets",
}

/// The heap traces that are replayed as ranges if none is named: the shorter ones, whose sizes differ most.
pub const AS_RANGES: [&str; 4] = ["lua-life", "git-log", "mosquitto", "perl-words"];

const fn made(made: &'static Made) -> Shipped {
    Shipped { kind: Kind::Frames, name: made.name, about: made.about, content: Content::Made(made) }
}

/// Whether a shipped trace of one kind is replayed as another: what programs asked of their heaps as ranges, mappings as
/// ranges and as address spaces.
#[must_use]
pub fn serves(has: Kind, wanted: Kind) -> bool {
    has == wanted || matches!((has, wanted), (Kind::Heap, Kind::Ranges) | (Kind::Ranges, Kind::Vm))
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
        let shipped = SHIPPED.iter().find(|s| serves(s.kind, kind) && name == s.name);
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
        let trace = self
            .bytes()
            .and_then(|bytes| HeapTrace::read(&bytes))
            .map_err(|error| format!("{name}: {error}"))?;
        program(&trace).map_err(|(index, invalid)| match invalid {
            Invalid::Size => {
                format!("{name}: operation {index} asks for more than 2 GiB, which is not replayed")
            }
            Invalid::State => format!("{name}: operation {index} uses an object in the wrong state"),
        })
    }
}

impl Source {
    /// Reads it as a frame trace, or makes it.
    ///
    /// # Errors
    /// As [`heap`](Self::heap).
    pub fn frames(&self) -> Result<frames::Program, String> {
        if let Self::Shipped(Shipped { content: Content::Made(made), .. }) = self {
            return Ok((made.program)());
        }
        let name = self.argument().to_string_lossy();
        let trace = self
            .bytes()
            .and_then(|bytes| FrameTrace::read(&bytes))
            .map_err(|error| format!("{name}: {error}"))?;
        frames::Program::recorded(&trace).map_err(|invalid| match invalid {
            frames::Invalid::Split(index) => {
                format!("{name}: operation {index} splits a block, which is not replayed")
            }
            frames::Invalid::TooLarge(index) => {
                format!("{name}: operation {index} has an order above 20 or a CPU above 255")
            }
        })
    }

    /// Reads it as a trace of kernel objects.
    ///
    /// # Errors
    /// As [`heap`](Self::heap).
    pub fn objects(&self) -> Result<objects::Program, String> {
        let name = self.argument().to_string_lossy();
        let trace = self
            .bytes()
            .and_then(|bytes| ObjectTrace::read(&bytes))
            .map_err(|error| format!("{name}: {error}"))?;
        objects::Program::recorded(&trace).map_err(|objects::TooLarge| {
            format!("{name}: more than 65536 caches, or objects of more than 1 MiB, which is not replayed")
        })
    }

    /// Whether it is made rather than recorded.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Shipped(Shipped { content: Content::Made(_), .. }))
    }

    /// Reads it as requests for ranges: a heap trace, or one of address spaces.
    ///
    /// # Errors
    /// As [`heap`](Self::heap); a file that is neither is reported as a broken heap trace.
    pub fn ranges(&self) -> Result<ranges::Program, String> {
        let name = self.argument().to_string_lossy();
        let bytes = self.bytes().map_err(|error| format!("{name}: {error}"))?;
        if !bytes.starts_with(b"VMTRC") {
            return self.heap().map(|program| ranges::Program::of_heap(&program));
        }
        let trace = VmTrace::read(&bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(ranges::Program::of_vm(&trace))
    }

    /// Reads it as a trace of address spaces.
    ///
    /// # Errors
    /// As [`heap`](Self::heap).
    pub fn vm(&self) -> Result<VmTrace, String> {
        let name = self.argument().to_string_lossy();
        let trace = self.bytes().and_then(|bytes| VmTrace::read(&bytes));
        trace.map_err(|error| format!("{name}: {error}"))
    }

    /// The decoded file.
    fn bytes(&self) -> Result<Vec<u8>, TraceError> {
        match self {
            Self::Shipped(Shipped { content: Content::File(bytes), .. }) => decompress(bytes),
            // A made run has no file, and is never asked for one.
            Self::Shipped(_) => Ok(Vec::new()),
            Self::File(path) => load(path),
        }
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
    fn every_name_is_of_a_heap_trace() {
        let is_heap = |name: &&str| SHIPPED.iter().any(|s| s.kind == Kind::Heap && s.name == *name);
        assert!(AS_RANGES.iter().all(is_heap));
    }

    #[test]
    fn every_shipped_trace_reads() {
        for shipped in SHIPPED {
            let source = Source::Shipped(shipped);
            let (name, ops) = match shipped.kind {
                Kind::Heap => source.heap().map(|p| (p.name().to_owned(), p.ops().len())).unwrap(),
                Kind::Vm => source.vm().map(|t| (t.name, t.ops.len())).unwrap(),
                Kind::Ranges => source.ranges().map(|p| (p.name.clone(), p.ops.len())).unwrap(),
                Kind::Objects => source.objects().map(|p| (p.name.clone(), p.ops.len())).unwrap(),
                _ => source.frames().map(|p| (p.name().to_owned(), p.ops().len())).unwrap(),
            };
            assert_eq!(name, shipped.name);
            let least = match shipped.kind {
                Kind::Ranges => 100,
                Kind::Vm => 1000,
                _ => 100_000,
            };
            assert!(ops > least, "{name}: {ops}");
        }
    }
}
