//! Segments: what a translation costs beside a bare comparison and addition, which region holds an address, and how
//! well protection regions fit.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../../../segmentation/tests/silicon/cases.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::manual_is_multiple_of,
    reason = "a test of an older Rust"
)]
mod cases;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../../../segmentation/tests/silicon/machine.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, clippy::unwrap_used, reason = "the test's own code")]
mod machine;

use core::hint::black_box;
use core::num::NonZero;

use hectare_core::{Access, Extent, Permissions, VirtAddr};
use hectare_segmentation::protect::{Pmsa7, RegionFormat, cover};
use hectare_segmentation::{BaseLimit, RegionMap, Segment, SegmentNumber, Slot, Table};
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::{Bound, Figure, Random};
use crate::clock::thread_ns;
use crate::rounds::{interleave, median};

/// Operations of one timed pass.
const OPERATIONS: usize = 1 << 16;

/// All figures of the area.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut figures = translation(rounds);
    for count in [2, 4, 8, 16, 256] {
        figures.push(lookup(count, rounds));
    }
    figures.extend(fitting());
    figures.extend(silicon());
    figures
}

/// The x86 model against this CPU: a mismatch ends the run, so the figure is how many cases agree.
fn silicon() -> Option<Figure> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some((permitted, refused)) = cases::run(120_000) {
        let cases = f64::from(permitted + refused);
        return Some(Figure::value(
            "segments: x86 cases that agree with the CPU, none disagrees",
            cases,
            Bound::AtLeast(100_000.0),
        ));
    }
    println!("SKIPPED: this system's CPU cannot be asked about descriptors");
    None
}

fn median_ns(passes: &mut [&mut dyn FnMut() -> u64], rounds: usize) -> Vec<f64> {
    let times = interleave(
        passes.len(),
        rounds,
        |_| true,
        |_, who| {
            let start = thread_ns();
            black_box(passes[who]());
            (thread_ns() - start) as f64 / OPERATIONS as f64
        },
    );
    times.iter().map(|times| median(times).expect("at least one round")).collect()
}

fn translation(rounds: usize) -> Vec<Figure> {
    let mut random = Random::new(7);
    let rights = Permissions::READ | Permissions::WRITE | Permissions::USER;
    let mut table = Table::<[Slot; 256]>::EMPTY;
    for nth in 0..256_u64 {
        let segment = Segment::up(VirtAddr::new(nth << 20), 0x1_0000, rights).expect("does not wrap");
        table.insert(segment).expect("room");
    }
    let offsets: Vec<(SegmentNumber, u64)> = (0..4096)
        .map(|_| (SegmentNumber::new(random.range(0, 256) as u32), random.range(0, 0xFFF0) as u64))
        .collect();
    let number = SegmentNumber::new(3);
    let register = table.load(number, Access::user_read()).expect("present");
    let bare = BaseLimit::new(VirtAddr::new(3 << 20), 0x1_0000).expect("does not wrap");
    macro_rules! pass {
        (|$number:ident, $offset:ident| $body:expr) => {
            || {
                let mut sum = 0_u64;
                for _ in 0..OPERATIONS / offsets.len() {
                    for &($number, $offset) in &offsets {
                        let ($number, $offset) = (black_box($number), black_box($offset));
                        let _ = $number;
                        sum = sum.wrapping_add(black_box($body));
                    }
                }
                sum
            }
        };
    }
    let (base, length) = (black_box(bare.base().value()), black_box(bare.length()));
    let mut compare_and_add =
        pass!(|number, offset| if offset < length { base.wrapping_add(offset) } else { u64::MAX });
    let (register, table) = (black_box(&register), black_box(&table));
    let mut loaded = pass!(|number, offset| {
        register.translate(offset, 8, Access::user_read()).map_or(u64::MAX, VirtAddr::value)
    });
    let mut current = pass!(|number, offset| {
        table.translate_loaded(register, offset, 8, Access::user_read()).map_or(u64::MAX, VirtAddr::value)
    });
    let mut by_table = pass!(|number, offset| {
        table.translate(number, offset, 8, Access::user_read()).map_or(u64::MAX, VirtAddr::value)
    });
    let ns = median_ns(&mut [&mut compare_and_add, &mut loaded, &mut current, &mut by_table], rounds);
    let row = |name: &str, nth: usize, bound| {
        let mut figure = Figure::beside(
            format!("segments: {name}, ns beside a bare comparison and addition"),
            ns[nth],
            ns[0],
            bound,
        );
        figure.timed = true;
        figure
    };
    vec![
        row("through a loaded register", 1, Bound::AtMost(2.0)),
        row("through a register that must be current", 2, Bound::Recorded),
        row("through a table of 256", 3, Bound::AtMost(3.0)),
    ]
}

/// Finding one of `count` regions of 4 KiB, with as much unused between any two.
fn lookup(count: usize, rounds: usize) -> Figure {
    let ranges: Vec<(GuestAddress, usize)> =
        (0..count as u64).map(|nth| (GuestAddress(nth << 13), 4096)).collect();
    let theirs: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges).expect("mapped");
    let mut random = Random::new(11);
    let addresses: Vec<u64> = (0..4096).map(|_| random.range(0, count << 13) as u64).collect();
    let ns = match count {
        0..=16 => compare_maps::<16>(&theirs, &ranges, &addresses, rounds),
        _ => compare_maps::<256>(&theirs, &ranges, &addresses, rounds),
    };
    let bound = if count <= 8 { 1.2 } else { 1.0 };
    Figure::time(
        format!("segments: region of an address among {count}, ns beside vm-memory"),
        ns[0],
        ns[1],
        Bound::AtLeast(bound),
    )
}

fn compare_maps<const N: usize>(
    theirs: &GuestMemoryMmap,
    ranges: &[(GuestAddress, usize)],
    addresses: &[u64],
    rounds: usize,
) -> Vec<f64> {
    let mut ours = RegionMap::<u32, N>::EMPTY;
    for (&(start, length), value) in ranges.iter().zip(0..) {
        ours.insert(Extent::new(start.raw_value(), length as u64).expect("not empty"), value).expect("room");
    }
    let (ours, theirs) = (black_box(&ours), black_box(theirs));
    let mut our_pass = || {
        let mut found = 0;
        for _ in 0..OPERATIONS / addresses.len() {
            for &address in addresses {
                found += u64::from(black_box(ours.find(black_box(address)).is_some()));
            }
        }
        found
    };
    let mut their_pass = || {
        let mut found = 0;
        for _ in 0..OPERATIONS / addresses.len() {
            for &address in addresses {
                found += u64::from(black_box(theirs.find_region(black_box(GuestAddress(address))).is_some()));
            }
        }
        found
    };
    assert_eq!(our_pass(), their_pass(), "both find the same");
    median_ns(&mut [&mut our_pass, &mut their_pass], rounds)
}

/// Tock's rule for one ARMv7-M region: a power of two where start and size permit; else a run of eighths as large as the
/// largest power of two that divides the start; if that leaves the block of eight, a power of two further up.
fn tock(available: Extent, length: u64) -> Option<Extent> {
    let start = available.start().next_multiple_of(32);
    let size = length.max(32);
    let whole = size.is_power_of_two() && start.is_multiple_of(size);
    let part = 1_u64 << start.trailing_zeros();
    let covered = size.next_multiple_of(part);
    let extent = if whole {
        Extent::new(start, size)
    } else if start % (part * 8) + covered <= part * 8 {
        Extent::new(start, covered)
    } else {
        let power = size.next_power_of_two();
        Extent::new(start.next_multiple_of(power), power)
    };
    extent.filter(|extent| extent.end() <= available.end())
}

fn fitting() -> Vec<Figure> {
    const REQUESTS: usize = 200_000;
    let mut figures = vec![];
    for granule in [32_usize, 256, 1024] {
        let mut random = Random::new(granule as u64);
        let (mut ours, mut theirs, mut asked) = (0, 0, 0_u64);
        let (mut our_bytes, mut their_bytes) = (0, 0);
        for _ in 0..REQUESTS {
            let length = random.range(33, 20_033) as u64;
            let start = 0x2000_0000 + (random.range(0, 0x4_0000 / granule) * granule) as u64;
            let available = Extent::new(start, 2 * length).expect("not empty");
            let our_place = Pmsa7::V7.fit(available, NonZero::new(length).expect("not zero"));
            let their_place = tock(available, length);
            ours += usize::from(our_place.is_some());
            theirs += usize::from(their_place.is_some());
            if let (Some(one), Some(two)) = (our_place, their_place) {
                asked += length;
                our_bytes += one.length();
                their_bytes += two.length();
            }
        }
        let share = |count: usize| 100.0 * count as f64 / REQUESTS as f64;
        let name = |what| format!("segments: ARMv7-M, starts multiples of {granule}: {what}");
        let mut served = Figure::value(
            name("one region suffices, % (peer: Tock's rule)"),
            share(ours),
            Bound::AtLeast(96.0),
        );
        served.peer = Some(share(theirs));
        let waste = |covered: u64| 100.0 * (covered - asked) as f64 / asked as f64;
        let mut wasted =
            Figure::value(name("waste where both serve, %"), waste(our_bytes), Bound::AtMost(9.0));
        wasted.peer = Some(waste(their_bytes));
        figures.extend([served, wasted]);
    }
    let mut random = Random::new(3);
    let covered = (0..REQUESTS / 10).filter(|_| {
        let start = 0x2000_0000 + random.range(0, 0x4_0000 / 32) as u64 * 32;
        let length = 32 * random.range(1, 2049) as u64;
        cover::<8>(&Pmsa7::V7, Extent::new(start, length).expect("not empty")).is_some()
    });
    let share = 100.0 * covered.count() as f64 / (REQUESTS / 10) as f64;
    figures.push(Figure::value(
        "segments: ARMv7-M, any 32-byte blocks covered by 8 regions, %",
        share,
        Bound::AtLeast(100.0),
    ));
    figures
}
