//! The figures, one function each.
#![expect(unsafe_code, reason = "x86_64's mapping calls are unsafe")]

mod change;
mod cpus;
mod find;
mod formats;
mod map;
mod one;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Mapper, Page as X64Page, PageTableFlags, PhysFrame, Size4KiB};

use super::peers::{self, Generic, Multiarch, X64Frames};
use super::{FIRST, LEAVES, MEMORY};
use crate::figures::Figure;

const START: u64 = FIRST << 12;
const BYTES: u64 = LEAVES << 12;
const PRESENT: u64 = 0x8000_0000_0000_0067;

/// All figures of the area.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut figures = map::map(rounds);
    figures.extend(change::unmap(rounds));
    figures.extend(change::protect(rounds));
    figures.extend(change::forget(rounds));
    figures.extend(map::huge(rounds));
    figures.extend(find::find(rounds));
    figures.extend(find::find_many(rounds));
    figures.extend(one::single(rounds));
    figures.extend(one::sparse(rounds));
    figures.extend(cpus::lookups(rounds));
    figures.extend(cpus::ranges(rounds));
    figures.extend(formats::fork(rounds));
    figures.extend(formats::formats(rounds));
    figures
}

fn x64_flags() -> PageTableFlags {
    PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::USER_ACCESSIBLE
        | PageTableFlags::NO_EXECUTE
}

fn x64_pages() -> PageRange<Size4KiB> {
    let page = |address| X64Page::containing_address(x86_64::VirtAddr::new(address));
    PageRange { start: page(START), end: page(START + BYTES) }
}

fn generic_config(at: u64, memory: u64, bytes: u64, huge: bool) -> page_table_generic::MapConfig<u64> {
    page_table_generic::MapConfig {
        vaddr: (at as usize).into(),
        paddr: (memory as usize).into(),
        size: bytes as usize,
        pte: 0x66,
        allow_huge: huge,
        flush: false,
    }
}

fn multiarch_mapped(bytes: u64, huge: bool) -> Multiarch {
    let mut table = Multiarch::try_new().expect("a root");
    map_multiarch(&mut table, bytes, huge);
    table
}

fn map_multiarch(table: &mut Multiarch, bytes: u64, huge: bool) {
    let place = |at: memory_addr::VirtAddr| (at.as_usize() - START as usize + (MEMORY << 12) as usize).into();
    let flags = peers::multiarch_flags(true);
    table.cursor().map_region((START as usize).into(), place, bytes as usize, flags, huge).expect("mapped");
}

fn map_x64(table: &mut x86_64::structures::paging::OffsetPageTable<'_>) {
    for (nth, page) in x64_pages().enumerate() {
        let frame = PhysFrame::containing_address(x86_64::PhysAddr::new((MEMORY + nth as u64) << 12));
        // SAFETY: the table is never loaded.
        let flush = unsafe { table.map_to(page, frame, x64_flags(), &mut X64Frames) };
        flush.expect("mapped").ignore();
    }
}

fn generic_mapped(bytes: u64, huge: bool) -> Generic {
    let mut table = Generic::new(peers::GenericFrames).expect("a root");
    table.map(&generic_config(START, MEMORY << 12, bytes, huge)).expect("mapped");
    table
}

fn aarch64_mapped(bytes: u64, huge: bool) -> peers::Aarch64 {
    let mut table = peers::aarch64();
    peers::map_aarch64(&mut table, START, MEMORY << 12, bytes, peers::aarch64_flags(true), huge);
    table
}

/// The loop that stores the same entries.
fn store_loop(words: &mut [u64]) {
    let mut entry = MEMORY << 12 | PRESENT;
    for word in words {
        *word = entry;
        entry += 4096;
    }
}
