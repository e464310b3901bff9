//! `/proc/PID/maps`, written and read.

use hectare_core::{Page, PageRun, PageSize, Permissions, VirtAddr};
use hectare_paging::space::maps::{Label, MapsError, MapsLine, lines};
use hectare_paging::space::{Area, AreaFlags, Backing, ObjectId};
use proptest::prelude::*;

const SIZE: PageSize = PageSize::SIZE_4K;

/// Lines as Linux 6.18 wrote them.
const RECORDED: &str = "\
564a87c30000-564a87c32000 r--p 00000000 fe:00 247030                     /usr/bin/cat
564a87c32000-564a87c37000 r-xp 00002000 fe:00 247030                     /usr/bin/cat
564a87c3b000-564a87c3c000 rw-p 0000a000 fe:00 247030                     /usr/bin/cat
564aa99e5000-564aa9a06000 rw-p 00000000 00:00 0                          [heap]
7f2748da3000-7f2748e67000 rw-p 00000000 00:00 0 \n\
7f27490ad000-7f27490b4000 r--s 00000000 fe:00 325745                     /usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache
7ffd1a2f5000-7ffd1a316000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

#[test]
fn recorded_lines_are_written_as_they_were_read() {
    let mut count = 0;
    for line in RECORDED.lines() {
        assert_eq!(MapsLine::read(line).unwrap().to_string(), line);
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "needs the system's files")]
fn this_process_s_own_lines_too() {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap();
    let written: String = lines(&text).map(|line| format!("{}\n", line.unwrap())).collect();
    assert_eq!(written, text);
    // Through areas and back: nothing that a line shows is lost.
    for line in lines(&text).map(Result::unwrap) {
        let backing = ObjectId::new(line.label.inode)
            .map_or(Backing::Anonymous, |id| Backing::Object { id, offset: 0 });
        let area = line.area(SIZE, backing).unwrap();
        let again = MapsLine::of(&area, SIZE, line.label).unwrap();
        assert_eq!(again.to_string(), line.to_string());
    }
}

#[test]
fn a_broken_line_is_refused_at_its_column() {
    let read =
        |line| MapsLine::read(line).map(|_| ()).map_err(|MapsError { expected, column }| (column, expected));
    let refused = [
        ("", (0, "the first address")),
        ("400000 r-xp", (0, "the first address")),
        ("00400000-00400000 r-xp 0 0:0 0 ", (9, "an address above the first")),
        ("00400000-+0401000 r-xp 0 0:0 0 ", (9, "the address of the end")),
        ("00400000-00401000 rwxz 0 0:0 0 ", (18, "permissions")),
        ("00400000-00401000 xwrp 0 0:0 0 ", (18, "permissions")),
        ("00400000-00401000 rw-p 0g 0:0 0 ", (23, "an offset")),
        ("00400000-00401000 rw-p 00000000 08-02 0 ", (32, "a major number")),
        ("00400000-00401000 rw-p 00000000 08:100000000 0 ", (35, "a minor number")),
        ("00400000-00401000 rw-p 00000000 08:02 a ", (38, "an inode")),
        ("00400000-00401000 rw-p 00000000 08:02", (35, "a minor number")),
    ];
    for (line, error) in refused {
        assert_eq!(read(line), Err(error), "{line}");
    }
    assert_eq!(
        read("00400000-00401000 rw-p 00000000 08:02 17\n"),
        Ok(()),
        "spaces at the end may be stripped"
    );
}

#[test]
fn a_line_feed_in_a_name_is_escaped() {
    let label = Label { device: (8, 2), inode: 9, name: "/tmp/a\nb" };
    let pages = PageRun::new(Page::new(1), 1).unwrap();
    let line = MapsLine::of(&Area::new(pages, Permissions::READ), SIZE, label).unwrap();
    let text = line.to_string();
    assert_eq!(text, "00001000-00002000 r--p 00000000 08:02 9                                  /tmp/a\\012b");
    assert_eq!(text.find("/tmp"), Some(73));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        start in 0..u64::MAX >> 12, pages in 1..1u64 << 40, rights in 0..8u8, shared: bool, offset in 0..u64::MAX >> 13,
        device: (u32, u32), inode: u64, name in "|/[a-z \\[\\]()]{0,90}[a-z]",
    ) {
        let Some(end) = start.checked_add(pages).filter(|end| *end <= u64::MAX >> 12) else { return Ok(()) };
        let line = MapsLine {
            start: VirtAddr::new(start << 12),
            end: VirtAddr::new(end << 12),
            permissions: Permissions::from_bits_retain(rights) | Permissions::USER,
            shared,
            offset: offset << 12,
            label: Label { device, inode, name: &name },
        };
        let text = line.to_string();
        prop_assert_eq!(MapsLine::read(&text), Ok(line));
        let backing = Backing::Object { id: ObjectId::new(1).unwrap(), offset: 0 };
        let area = line.area(SIZE, backing).unwrap();
        prop_assert_eq!(area.flags().contains(AreaFlags::SHARED), shared);
        prop_assert_eq!(MapsLine::of(&area, SIZE, line.label), Some(line));
        prop_assert_eq!(line.area(SIZE, Backing::Anonymous).unwrap().backing(), Backing::Anonymous);
    }
}
