//! What a fault costs beside its page, what a lazy range costs, and what a fork costs.

use core::hint::black_box;
use core::num::NonZero;

use hectare_core::{Access, Frame, FrameRun, Page, PageRun, Permissions, VirtAddr};
use hectare_paging::Attributes;
use hectare_paging::space::{AddressSpace, HugePages, MapRequest, Settings};
use hectare_paging::table::{MapOptions, NotLoaded, PageTable};

use super::areas::times;
use crate::clock::thread_ns;
use crate::figures::{Bound, Figure};
use crate::rounds::{interleave, median};
use crate::vm::machine::Machine;
use crate::vm::{Buddy, F, Memory, with_machine};

/// Pages of one timed pass.
const PAGES: u64 = 4096;

fn rights() -> Permissions {
    Permissions::READ | Permissions::WRITE
}

fn settings() -> Settings {
    let window = PageRun::new(Page::new(16), 1 << 34).expect("pages");
    Settings { huge: HugePages::Never, ..Settings::new(window) }
}

fn pages(first: Page, count: u64) -> impl Iterator<Item = VirtAddr> {
    (first.number()..first.number() + count).map(|page| VirtAddr::new(page << 12))
}

/// The figures.
///
/// # Panics
/// There is no memory.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut memory = Memory::new(1 << 18).expect("memory");
    with_machine(&mut memory, |machine| {
        let mut figures = faults(machine, rounds);
        figures.push(lazy(machine, rounds));
        figures.push(fork(machine, rounds));
        figures
    })
}

type Kernel<'m> = crate::vm::machine::Handle<'m, Buddy, hectare_core::DirectMap>;

/// A new space with an area of so many pages, from a place where tables begin.
fn space<'m>(
    machine: &'m Machine<Buddy, hectare_core::DirectMap>,
    count: u64,
) -> (AddressSpace<F, Kernel<'m>>, Page) {
    let mut space = AddressSpace::new(machine.kernel(), settings()).expect("room");
    let count = NonZero::new(count).expect("not 0");
    let first = space.map(MapRequest::anonymous(count, rights())).expect("room");
    (space, first)
}

fn faults(machine: &Machine<Buddy, hectare_core::DirectMap>, rounds: usize) -> Vec<Figure> {
    let zero = machine.zero_frame();
    // A round of each: the whole fault, the zeroing of the same frames alone, a fault that zeroes nothing, and a
    // translation and a map.
    let run = |who: usize| -> f64 {
        let (mut space, first) = space(machine, PAGES);
        let per_page = |ns: u64| ns as f64 / PAGES as f64;
        match who {
            0 | 1 => {
                let start = thread_ns();
                for address in pages(first, PAGES) {
                    black_box(space.handle_fault(address, Access::user_write()).expect("memory"));
                }
                let whole = thread_ns() - start;
                let run = PageRun::new(first, PAGES).expect("pages");
                let frames: Vec<FrameRun> =
                    space.table().runs(run).expect("in reach").map(|run| run.frames()).collect();
                let start = thread_ns();
                for frame in frames.iter().flat_map(|run| run.iter()) {
                    machine.bytes(frame, |bytes| black_box(bytes).fill(0));
                }
                let zeroing = thread_ns() - start;
                space.destroy();
                per_page(if who == 0 { whole.saturating_sub(zeroing) } else { zeroing })
            }
            2 => {
                space.destroy();
                let settings = Settings { zero_frame: Some(zero), ..settings() };
                let mut space = AddressSpace::<F, _>::new(machine.kernel(), settings).expect("room");
                let count = NonZero::new(PAGES).expect("not 0");
                let first = space.map(MapRequest::anonymous(count, rights())).expect("room");
                let start = thread_ns();
                for address in pages(first, PAGES) {
                    black_box(space.handle_fault(address, Access::user_read()).expect("memory"));
                }
                let ns = thread_ns() - start;
                space.destroy();
                per_page(ns)
            }
            _ => {
                space.destroy();
                let mut table = PageTable::<F, _, _>::new(&machine.window, &machine.frames).expect("a frame");
                let attributes = Attributes::new(rights() | Permissions::USER);
                let start = thread_ns();
                for (nth, address) in pages(first, PAGES).enumerate() {
                    assert!(black_box(table.find(address)).is_none());
                    let run = FrameRun::new(Frame::new(0x1000 + nth as u64), 1).expect("a frame");
                    let page = Page::new(address.value() >> 12);
                    table.map(page, run, attributes, MapOptions::DEFAULT).expect("free").later();
                }
                let ns = thread_ns() - start;
                // SAFETY: no CPU uses the table.
                let nobody = unsafe { NotLoaded::new() };
                table.destroy(&nobody);
                per_page(ns)
            }
        }
    };
    let times = interleave(4, rounds, |_| true, |_, who| run(who));
    let [whole, zeroing, zero, single]: [f64; 4] =
        core::array::from_fn(|who| median(&times[who]).unwrap_or(f64::NAN));
    let beside =
        |name: &str, ours| Figure { timed: true, ..Figure::beside(name, ours, single, Bound::AtMost(4.0)) };
    vec![
        beside("vm: a fault on zeros, zeroing taken off: ns, translate + map", whole),
        beside("vm: a fault that maps the frame of zeros: ns, translate + map", zero),
        Figure::value("vm: the zeroing of a page: ns", zeroing, Bound::Recorded),
    ]
}

/// A mapping that nobody uses, of 1 TiB beside one of 4 KiB.
fn lazy(machine: &Machine<Buddy, hectare_core::DirectMap>, rounds: usize) -> Figure {
    const OPERATIONS: usize = 4000;
    let (mut one, _) = space(machine, 1);
    let (mut two, _) = space(machine, 1);
    // A few areas of other rights, as a program has them.
    for space in [&mut one, &mut two] {
        for nth in 0..100 {
            let rights = if nth % 2 == 0 { Permissions::READ } else { rights() };
            space.map(MapRequest::anonymous(NonZero::new(3).expect("not 0"), rights)).expect("room");
        }
    }
    let pass = |space: &mut AddressSpace<F, Kernel<'_>>, count: u64| {
        let request = MapRequest::anonymous(NonZero::new(count).expect("not 0"), Permissions::EXECUTE);
        for _ in 0..OPERATIONS {
            let first = space.map(black_box(request)).expect("room");
            space.unmap(first, count).expect("mapped");
        }
        OPERATIONS
    };
    let [large, small] = times(&mut [&mut || pass(&mut one, 1 << 28), &mut || pass(&mut two, 1)], rounds);
    one.destroy();
    two.destroy();
    let name = "vm: mmap and munmap of a lazy 1 TiB: ns, of 4 KiB";
    Figure { timed: true, ..Figure::beside(name, large, small, Bound::AtMost(1.2)) }
}

/// A fork of a process whose pages are all written to, beside a loop that copies the entries and counts one more user.
fn fork(machine: &Machine<Buddy, hectare_core::DirectMap>, rounds: usize) -> Figure {
    const COUNT: u64 = 16_384;
    let entries: Vec<u64> = (0..COUNT).map(|nth| nth << 12 | 0x67).collect();
    let mut copies = vec![0_u64; entries.len()];
    let mut users = vec![1_u32; entries.len()];
    let run = |who: usize| -> f64 {
        if who == 0 {
            let (mut space, first) = space(machine, COUNT);
            for address in pages(first, COUNT) {
                space.handle_fault(address, Access::user_write()).expect("memory");
            }
            let start = thread_ns();
            let child = black_box(space.fork().expect("memory"));
            let ns = thread_ns() - start;
            child.destroy();
            space.destroy();
            return ns as f64 / COUNT as f64;
        }
        let start = thread_ns();
        for ((entry, copy), users) in entries.iter().zip(&mut copies).zip(&mut users) {
            *copy = *entry;
            *users += 1;
        }
        black_box((&mut copies, &mut users));
        (thread_ns() - start) as f64 / COUNT as f64
    };
    let mut run = run;
    let times = interleave(2, rounds, |_| true, |_, who| run(who));
    let [ours, plain] = [0, 1].map(|who| median(&times[who]).unwrap_or(f64::NAN));
    let name = "vm: fork, a page: ns, a loop that copies entries and counts";
    Figure { timed: true, ..Figure::beside(name, ours, plain, Bound::AtMost(2.0)) }
}
