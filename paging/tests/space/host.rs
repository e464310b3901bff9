//! The same calls to an address space and to the Linux that runs the test: what they return, what is mapped afterwards, what
//! may be done there, and what it holds.
//!
//! ```text
//!   op ──┬─► map, unmap, protect, advise, remap, handle_fault ──► areas, bytes ──┐
//!        └─► mmap, munmap, mprotect, madvise, mremap, a pipe ───► maps, bytes ───┴─ equal, page by page
//! ```
//! Where one of our calls refuses and Linux's changes something first, the test does what a kernel would do.
#![expect(unsafe_code, reason = "calls the kernel")]

use core::ffi::c_void;
use core::num::NonZero;
use core::ops::Range;

use hectare_core::{Access, CheckInvariants, Page, PageRun, PageSize, Permissions, VirtAddr};
use hectare_paging::format::X86_64;
use hectare_paging::space::{AddressSpace, Advice, MapRequest, Move, Place, Settings, SpaceError};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};
use proptest::prelude::*;

use crate::machine::{Handle, Machine, access};
use crate::processes::machine;

type F = X86_64<4>;
type Frames = PlainFrames<12>;

/// Pages that the calls are about.
const PAGES: u64 = 24;
/// The number of the first, in both: far below what Linux chooses from, and far above a program and its heap.
const FIRST: u64 = 0x2000_0000_0000 >> 12;

#[derive(Clone, Debug)]
enum Op {
    Map { pages: Range<u64>, rights: i32, replace: bool },
    Unmap(Range<u64>),
    Protect(Range<u64>, i32),
    DontNeed(Range<u64>),
    NoHuge(Range<u64>),
    Remap { old: Range<u64>, count: u64, to: Option<u64> },
    Write(u64, u8),
}

fn ranges() -> impl Strategy<Value = Range<u64>> {
    (0..PAGES).prop_flat_map(|first| (first + 1..=PAGES).prop_map(move |end| first..end))
}

fn rights() -> impl Strategy<Value = i32> {
    prop::sample::select(vec![
        libc::PROT_NONE,
        libc::PROT_READ,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::PROT_READ | libc::PROT_EXEC,
    ])
}

fn ops() -> impl Strategy<Value = Op> {
    let short = || (0..PAGES, 1..5_u64).prop_map(|(first, count)| first..(first + count).min(PAGES));
    prop_oneof![
        3 => (short(), rights(), any::<bool>())
            .prop_map(|(pages, rights, replace)| Op::Map { pages, rights, replace }),
        1 => short().prop_map(Op::Unmap),
        3 => (ranges(), rights()).prop_map(|(pages, rights)| Op::Protect(pages, rights)),
        1 => ranges().prop_map(Op::DontNeed),
        1 => ranges().prop_map(Op::NoHuge),
        2 => (short(), 1..5_u64, prop::option::of(0..PAGES))
            .prop_map(|(old, count, to)| Op::Remap { old, count, to }),
        4 => (0..PAGES, any::<u8>()).prop_map(|(page, value)| Op::Write(page, value)),
    ]
}

/// The kernel of the machine that runs this.
struct Host {
    /// Bytes that pass between memory and a pipe fail where memory may not be touched, without a signal.
    pipe: [i32; 2],
}

impl Drop for Host {
    fn drop(&mut self) {
        self.unmap(&(0..PAGES)).expect("holes do not matter");
        for end in self.pipe {
            // SAFETY: an end of the own pipe, closed once.
            unsafe { libc::close(end) };
        }
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn checked(result: i64) -> Result<u64, i32> {
    u64::try_from(result).map_err(|_| errno())
}

fn place(page: u64) -> *mut c_void {
    core::ptr::without_provenance_mut(((FIRST + page) << 12) as usize)
}

fn bytes(pages: &Range<u64>) -> usize {
    ((pages.end - pages.start) << 12) as usize
}

impl Host {
    fn new() -> Self {
        let mut pipe = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) }, 0);
        let host = Self { pipe };
        assert_eq!(host.lines(), [], "nothing else may be where the test wants to be");
        host
    }

    fn map(&self, pages: &Range<u64>, rights: i32, replace: bool) -> Result<(), i32> {
        let fixed = if replace { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
        // SAFETY: nobody else uses these pages.
        let first = unsafe { libc::mmap(place(pages.start), bytes(pages), rights, flags, -1, 0) };
        if first == libc::MAP_FAILED { Err(errno()) } else { Ok(()) }
    }

    fn unmap(&self, pages: &Range<u64>) -> Result<(), i32> {
        // SAFETY: nobody else uses these pages.
        checked(unsafe { libc::munmap(place(pages.start), bytes(pages)) }.into()).map(|_| ())
    }

    fn protect(&self, pages: &Range<u64>, rights: i32) -> Result<(), i32> {
        // SAFETY: nobody else uses these pages.
        checked(unsafe { libc::mprotect(place(pages.start), bytes(pages), rights) }.into()).map(|_| ())
    }

    fn advise(&self, pages: &Range<u64>, advice: i32) -> Result<(), i32> {
        // SAFETY: nobody else uses these pages.
        checked(unsafe { libc::madvise(place(pages.start), bytes(pages), advice) }.into()).map(|_| ())
    }

    fn remap(&self, old: &Range<u64>, count: u64, to: Option<u64>) -> Result<(), i32> {
        let flags = if to.is_some() { libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED } else { 0 };
        let (new, count) = (place(to.unwrap_or(0)), bytes(&(0..count)));
        // SAFETY: nobody else uses these pages.
        let moved = unsafe { libc::mremap(place(old.start), bytes(old), count, flags, new) };
        if moved == libc::MAP_FAILED { Err(errno()) } else { Ok(()) }
    }

    fn write(&self, page: u64, value: u8) -> Result<(), i32> {
        // SAFETY: one byte of ours.
        assert_eq!(unsafe { libc::write(self.pipe[1], [value].as_ptr().cast(), 1) }, 1);
        // SAFETY: nobody else uses this page.
        let read = checked(unsafe { libc::read(self.pipe[0], place(page), 1) } as i64);
        if read.is_err() {
            // The byte may still be there.
            // SAFETY: room for a byte.
            unsafe { libc::read(self.pipe[0], [0_u8].as_mut_ptr().cast(), 1) };
        }
        read.map(|_| ())
    }

    fn read(&self, page: u64) -> Result<u8, i32> {
        // SAFETY: the kernel reads a byte, or refuses.
        checked(unsafe { libc::write(self.pipe[1], place(page), 1) } as i64)?;
        let mut value = [0_u8];
        // SAFETY: room for a byte.
        assert_eq!(unsafe { libc::read(self.pipe[0], value.as_mut_ptr().cast(), 1) }, 1);
        Ok(value[0])
    }

    /// The lines of `/proc/self/maps` that are about our pages: from, to, rights.
    fn lines(&self) -> Vec<(u64, u64, Permissions)> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = |line: &str| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let page = |hex| u64::from_str_radix(hex, 16).unwrap() >> 12;
            let right =
                |at, letter, right| if rest.as_bytes()[at] == letter { right } else { Permissions::empty() };
            let rights = right(0, b'r', Permissions::READ)
                | right(1, b'w', Permissions::WRITE)
                | right(2, b'x', Permissions::EXECUTE);
            (page(from), page(to), rights)
        };
        let ours = |(from, _, _): &(u64, u64, Permissions)| (FIRST..FIRST + PAGES).contains(from);
        maps.lines()
            .map(line)
            .filter(ours)
            .map(|(from, to, rights)| (from - FIRST, to - FIRST, rights))
            .collect()
    }
}

/// Ours, with the system calls that a kernel would build on it.
struct Ours<'m> {
    machine: &'m Machine<Frames, ArenaWindow>,
    space: AddressSpace<F, Handle<'m, Frames, ArenaWindow>>,
}

fn page(page: u64) -> Page {
    Page::new(FIRST + page)
}

fn permissions(rights: i32) -> Permissions {
    let right = |bit, right| if rights & bit != 0 { right } else { Permissions::empty() };
    right(libc::PROT_READ, Permissions::READ)
        | right(libc::PROT_WRITE, Permissions::WRITE)
        | right(libc::PROT_EXEC, Permissions::EXECUTE)
}

impl Ours<'_> {
    fn map(&mut self, pages: &Range<u64>, rights: i32, replace: bool) -> Result<(), i32> {
        let count = NonZero::new(pages.end - pages.start).unwrap();
        let at = if replace { Place::Fixed } else { Place::NoReplace };
        let request = MapRequest::anonymous(count, permissions(rights)).at(at(page(pages.start)));
        match self.space.map(request) {
            Ok(_) => Ok(()),
            Err(SpaceError::Occupied { .. }) => Err(libc::EEXIST),
            Err(other) => panic!("{other}"),
        }
    }

    fn unmap(&mut self, pages: &Range<u64>) -> Result<(), i32> {
        self.space.unmap(page(pages.start), pages.end - pages.start).unwrap();
        Ok(())
    }

    fn protect(&mut self, pages: &Range<u64>, rights: i32) -> Result<(), i32> {
        let (first, permissions) = (page(pages.start), permissions(rights));
        match self.space.protect(first, pages.end - pages.start, permissions) {
            Err(SpaceError::Hole { page: hole }) => {
                let below = hole.number() - first.number();
                if below > 0 {
                    self.space.protect(first, below, permissions).unwrap();
                }
                Err(libc::ENOMEM)
            }
            other => other.map_err(|error| panic!("{error}")),
        }
    }

    fn advise(&mut self, pages: &Range<u64>, advice: Advice) -> Result<(), i32> {
        match self.space.advise(page(pages.start), pages.end - pages.start, advice) {
            Err(SpaceError::Hole { .. }) => Err(libc::ENOMEM),
            other => other.map_err(|error| panic!("{error}")),
        }
    }

    fn remap(&mut self, old: &Range<u64>, count: u64, to: Option<u64>) -> Result<(), i32> {
        let to = to.map_or(Move::Never, |to| Move::To(page(to)));
        let count = NonZero::new(count).unwrap();
        match self.space.remap(page(old.start), old.end - old.start, count, to) {
            Ok(_) => Ok(()),
            Err(SpaceError::Hole { .. }) => Err(libc::EFAULT),
            Err(SpaceError::Occupied { .. }) => Err(libc::EINVAL),
            Err(SpaceError::NoRoom) => Err(libc::ENOMEM),
            Err(other) => panic!("{other}"),
        }
    }

    fn touch(&mut self, number: u64, value: Option<u8>) -> Result<u8, i32> {
        let kind = if value.is_some() { Access::user_write() } else { Access::user_read() };
        let address = VirtAddr::new((FIRST + number) << 12);
        let (place, _) = access(&mut self.space, address, kind).map_err(|_| libc::EFAULT)?;
        let (frame, _) = place.split(PageSize::SIZE_4K);
        Ok(self.machine.bytes(frame, |bytes| {
            bytes[0] = value.unwrap_or(bytes[0]);
            bytes[0]
        }))
    }

    fn lines(&self) -> Vec<(u64, u64, Permissions)> {
        let line = |area: hectare_paging::space::Area| {
            let (first, end) = (area.first().number() - FIRST, area.end().number() - FIRST);
            (first, end, area.permissions() - Permissions::USER)
        };
        self.space.areas().iter().map(line).collect()
    }
}

/// What each page allows, or that it is not mapped: neighbours of anonymous memory that Linux does not join are no
/// difference.
fn by_page(lines: &[(u64, u64, Permissions)]) -> Vec<Option<Permissions>> {
    let line = |page| lines.iter().find(|(from, to, _)| (*from..*to).contains(&page));
    (0..PAGES).map(|page| line(page).map(|(_, _, rights)| *rights)).collect()
}

/// Whether a move of these pages is one that both can judge alike: Linux keeps areas apart whose pages came at different
/// times, and since 6.17 moves several at once.
fn is_alike(ours: &Ours<'_>, host: &Host, old: &Range<u64>, to: Option<u64>) -> bool {
    let end = |lines: &[(u64, u64, Permissions)]| {
        lines.iter().find(|(from, to, _)| (*from..*to).contains(&old.start)).map(|(_, to, _)| *to)
    };
    let (ours, host) = (end(&ours.lines()), end(&host.lines()));
    ours == host && (to.is_none() || host.is_some_and(|end| old.end <= end))
}

fn step(ours: &mut Ours<'_>, host: &Host, op: &Op) -> (Result<(), i32>, Result<(), i32>) {
    match op {
        Op::Map { pages, rights, replace } => {
            (ours.map(pages, *rights, *replace), host.map(pages, *rights, *replace))
        }
        Op::Unmap(pages) => (ours.unmap(pages), host.unmap(pages)),
        Op::Protect(pages, rights) => (ours.protect(pages, *rights), host.protect(pages, *rights)),
        Op::DontNeed(pages) => {
            (ours.advise(pages, Advice::DontNeed), host.advise(pages, libc::MADV_DONTNEED))
        }
        // A kernel without huge pages knows no such advice.
        Op::NoHuge(pages) => match host.advise(pages, libc::MADV_NOHUGEPAGE) {
            Err(libc::EINVAL) => (Ok(()), Ok(())),
            host => (ours.advise(pages, Advice::NoHuge), host),
        },
        Op::Remap { old, count, to } => {
            let count = (*count).min(PAGES - to.unwrap_or(old.start));
            if !is_alike(ours, host, old, *to) {
                return (Ok(()), Ok(()));
            }
            (ours.remap(old, count, *to), host.remap(old, count, *to))
        }
        Op::Write(page, value) => (ours.touch(*page, Some(*value)).map(|_| ()), host.write(*page, *value)),
    }
}

fn compare(ops: &[Op]) {
    let machine = machine(96);
    let window = PageRun::new(page(0), PAGES).unwrap();
    let space = AddressSpace::new(machine.kernel(), Settings::new(window)).unwrap();
    let (mut ours, host) = (Ours { machine: &machine, space }, Host::new());
    for op in ops {
        let (we, it) = step(&mut ours, &host, op);
        assert_eq!(we, it, "{op:?}: ours, the host's");
        assert_eq!(by_page(&ours.lines()), by_page(&host.lines()), "{op:?}: ours, the host's");
        ours.space.check_invariants().unwrap();
    }
    for page in 0..PAGES {
        assert_eq!(ours.touch(page, None), host.read(page), "page {page}: ours, the host's");
    }
    ours.space.destroy();
}

/// One at a time: they use the same pages of the process.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

proptest! {
    #[test]
    fn calls_do_what_the_host_s_do(ops in prop::collection::vec(ops(), 1..40)) {
        let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        compare(&ops);
    }
}

/// Calls over holes, and calls that refuse in their midst.
#[test]
fn calls_over_holes_do_what_the_host_s_do() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
    let map = |pages, rights| Op::Map { pages, rights, replace: true };
    let areas =
        || [map(2..6, write), map(8..12, write), map(14..18, write), Op::Write(3, 7), Op::Write(9, 8)];
    for last in [
        Op::Protect(3..16, read),
        Op::Protect(6..16, read),
        Op::Protect(0..4, read),
        Op::Protect(3..7, libc::PROT_NONE),
        Op::DontNeed(3..16),
        Op::DontNeed(0..9),
        Op::NoHuge(4..15),
        Op::Unmap(3..16),
        Op::Remap { old: 3..10, count: 5, to: None },
        Op::Remap { old: 3..10, count: 7, to: None },
        Op::Remap { old: 6..10, count: 2, to: None },
        Op::Remap { old: 4..6, count: 4, to: None },
        Op::Remap { old: 4..6, count: 5, to: None },
        Op::Remap { old: 4..6, count: 3, to: Some(8) },
        Op::Remap { old: 4..6, count: 3, to: Some(5) },
        map(5..9, read),
        Op::Map { pages: 5..9, rights: read, replace: false },
    ] {
        let mut ops = areas().to_vec();
        ops.extend([last, Op::Write(3, 1), Op::Write(4, 2), Op::Write(9, 3)]);
        compare(&ops);
    }
}
