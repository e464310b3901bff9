//! Every policy's heap places each block exactly where a naive scan of all holes does.
//!
//! The scan keeps the holes in a vector, with the moment at which each got its size. It knows nothing of maps, sections,
//! tries or regions: its space is one line of addresses. Requests with and without an alignment, frees, growth and
//! shrinking in place; one region, and three that come and go.
//!
//! `HECTARE_QUERIES` sets the number of requests for each policy.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test of heaps over raw memory"
)]

#[path = "range_oracle/random.rs"]
mod random;

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{ByteAllocator, CheckInvariants, RegionHeap};
use hectare_fit::PolicyHeap;
use hectare_fit::heap::Run;
use hectare_fit::policy::{BestFit, FirstFit, HalfFit, LastFit, NextFit, WorstFit};
use hectare_fit::policy_heap::Placement;
use hectare_testkit::arena::Arena;
use random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Best,
    Worst,
    First,
    Next,
    Last,
    Half,
}

/// In bytes and addresses.
#[derive(Clone, Copy, Debug)]
struct Hole {
    start: usize,
    size: usize,
    since: u64,
    region: usize,
}

struct Naive {
    rule: Rule,
    holes: Vec<Hole>,
    rover: usize,
    now: u64,
}

fn octave(size: usize) -> u32 {
    (size / 16).ilog2()
}

impl Naive {
    fn granted(&self, size: usize) -> usize {
        let granules = size.max(1).div_ceil(16);
        16 * if self.rule == Rule::Half { granules.next_power_of_two() } else { granules }
    }

    fn add(&mut self, start: usize, size: usize, region: usize) {
        if size > 0 {
            self.now += 1;
            self.holes.push(Hole { start, size, since: self.now, region });
        }
    }

    /// A block of `size` at `start` becomes free.
    fn release(&mut self, start: usize, size: usize, region: usize) {
        let (mut low, mut high) = (start, start + size);
        self.holes.retain(|hole| {
            let beside =
                hole.region == region && (hole.start + hole.size == start || hole.start == start + size);
            if beside {
                low = low.min(hole.start);
                high = high.max(hole.start + hole.size);
            }
            !beside
        });
        self.add(low, high - low, region);
    }

    /// Cuts `size` bytes at `at` out of a hole.
    fn cut(&mut self, hole: Hole, at: usize, size: usize) {
        self.holes.retain(|other| other.start != hole.start);
        self.add(hole.start, at - hole.start, hole.region);
        self.add(at + size, hole.start + hole.size - at - size, hole.region);
    }

    fn allocate(&mut self, size: usize, align: usize) -> Option<(usize, usize)> {
        let size = self.granted(size);
        let rule = self.rule;
        let place = |hole: &Hole| {
            let end = hole.start + hole.size;
            let at = if rule == Rule::Last {
                end.checked_sub(size)? / align * align
            } else {
                hole.start.next_multiple_of(align)
            };
            (at >= hole.start && at + size <= end).then_some(at)
        };
        let fitting = || self.holes.iter().filter(|hole| place(hole).is_some());
        let found = match rule {
            Rule::First => fitting().min_by_key(|hole| hole.start),
            Rule::Last => fitting().max_by_key(|hole| hole.start),
            Rule::Next => fitting().min_by_key(|hole| (hole.start + hole.size <= self.rover, hole.start)),
            Rule::Best => fitting().min_by_key(|hole| (hole.size, hole.region, u64::MAX - hole.since)),
            Rule::Worst => {
                fitting().min_by_key(|hole| (usize::MAX - hole.size, hole.region, u64::MAX - hole.since))
            }
            Rule::Half => {
                fitting().min_by_key(|hole| (hole.region, octave(hole.size), u64::MAX - hole.since))
            }
        };
        let hole = *found?;
        let at = place(&hole)?;
        self.cut(hole, at, size);
        self.rover = at + size;
        Some((at, hole.region))
    }
}

/// A live block: its start, size, alignment and region.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: NonNull<u8>,
    size: usize,
    align: usize,
    region: usize,
}

impl Block {
    fn layout(&self) -> Layout {
        Layout::from_size_align(self.size, self.align).unwrap()
    }
}

/// What a run looks like: bytes of a region, the largest request, how many blocks live.
struct Shape {
    region: usize,
    largest: u64,
    live: usize,
}

const SHAPES: [Shape; 5] = [
    Shape { region: 2_000, largest: 200, live: 30 },
    Shape { region: 20_000, largest: 64, live: 400 },
    Shape { region: 60_000, largest: 3_000, live: 60 },
    // Enough sections for three levels.
    Shape { region: 700_000, largest: 900, live: 1_500 },
    // Enough equal and nearly equal large holes for deep tries and long rings.
    Shape { region: 2_000_000, largest: 17_000, live: 300 },
];

fn queries() -> usize {
    let set = std::env::var("HECTARE_QUERIES").ok().and_then(|n| n.parse().ok());
    set.unwrap_or(if cfg!(miri) { 150 } else { 40_000 })
}

fn run<P: Placement>(rule: Rule) {
    let shapes = if cfg!(miri) { &SHAPES[..1] } else { &SHAPES[..] };
    let (mut done, mut seed) = (0, 1);
    while done < queries() {
        for shape in shapes {
            let mut random = Random::new(seed);
            seed += 1;
            done += duel::<P, 1>(rule, shape, &mut random);
            done += duel::<P, 3>(rule, shape, &mut random);
        }
    }
}

/// The holes of a heap as (start, size).
fn holes<P: Placement, const N: usize>(heap: &PolicyHeap<P, N>) -> Vec<(usize, usize)> {
    let hole = |run| if let Run::Hole(start, size) = run { Some((start.addr().get(), size)) } else { None };
    heap.runs().filter_map(hole).collect()
}

/// Gives the heap region `number` (from the top of the arena down, so that they do not come in order), and the naive
/// scan what the heap made of it.
fn add<P: Placement, const N: usize>(
    heap: &mut PolicyHeap<P, N>,
    naive: &mut Naive,
    arena: &mut Arena,
    shape: &Shape,
    number: usize,
) {
    let start = (shape.region + 512) * number + 7 * number;
    let before = holes(heap);
    let region = arena.give(start..start + shape.region);
    // SAFETY: the arena gave it away for this.
    unsafe { heap.add_region(region) }.unwrap();
    let new = holes(heap).into_iter().find(|hole| !before.contains(hole)).unwrap();
    naive.add(new.0, new.1, number);
}

fn duel<P: Placement, const N: usize>(rule: Rule, shape: &Shape, random: &mut Random) -> usize {
    let mut arena = Arena::new((shape.region + 520) * N, 4096);
    let mut heap = PolicyHeap::<P, N>::new();
    let mut naive = Naive { rule, holes: Vec::new(), rover: 0, now: 0 };
    for number in (0..N).rev() {
        add(&mut heap, &mut naive, &mut arena, shape, number);
    }
    let mut live: Vec<Block> = Vec::new();
    let steps = if cfg!(miri) { 60 } else { 300 + 4 * shape.live };
    for step in 0..steps {
        let wish = random.below(100);
        let grows = live.len() < shape.live;
        if wish < 44 + if grows { 12 } else { 0 } {
            // Few different sizes now and then, so that there are equals to choose from.
            let size =
                if wish % 2 == 0 { random.below(shape.largest + 1) } else { 48 * (1 + random.below(4)) };
            let align = if random.below(8) == 0 { 1 << random.below(13) } else { 8 };
            let (size, align) = (size as usize, align as usize);
            let mine = heap.allocate(Layout::from_size_align(size, align).unwrap());
            let his = naive.allocate(size, align);
            let address = mine.ok().map(|block| block.addr().get());
            assert_eq!(address, his.map(|(at, _)| at), "size {size}, align {align} at step {step}");
            live.extend(mine.ok().zip(his).map(|(start, (_, region))| Block { start, size, align, region }));
        } else if wish < 90 && !live.is_empty() {
            let block = live.swap_remove(random.below(live.len() as u64) as usize);
            // SAFETY: a live block.
            unsafe { heap.deallocate(block.start, block.layout()) }.unwrap();
            naive.release(block.start.addr().get(), naive.granted(block.size), block.region);
        } else if wish < 97 && !live.is_empty() {
            let index = random.below(live.len() as u64) as usize;
            let block = live[index];
            let size = random.below(shape.largest + 1) as usize;
            // SAFETY: a live block.
            let resized = unsafe { heap.resize_in_place(block.start, block.layout(), size) };
            let (old, new) = (naive.granted(block.size), naive.granted(size));
            let end = block.start.addr().get() + old;
            if new <= old {
                resized.unwrap();
                if new < old {
                    naive.release(end + new - old, old - new, block.region);
                }
            } else {
                let above = naive.holes.iter().find(|hole| hole.start == end && hole.region == block.region);
                let above = above.filter(|hole| hole.size >= new - old).copied();
                assert_eq!(resized.is_ok(), above.is_some(), "growth at step {step}");
                if let Some(above) = above {
                    naive.cut(above, end, new - old);
                }
            }
            if resized.is_ok() {
                live[index].size = size;
            }
        } else if N > 1 && wish == 99 {
            // A region without blocks goes and comes back.
            let number = random.below(N as u64) as usize;
            let Some(given) =
                arena.given().iter().position(|given| given.start / (shape.region + 512) == number)
            else {
                continue;
            };
            let inside = arena.pointer(arena.given()[given].clone()).cast::<u8>();
            // SAFETY: inside the region.
            let inside = unsafe { inside.add(shape.region / 2) };
            let removed = heap.remove_region(inside);
            assert_eq!(removed.is_ok(), live.iter().all(|block| block.region != number));
            if removed.is_ok() {
                let region = arena.pointer(arena.given()[given].clone());
                let addresses = region.addr().get()..region.addr().get() + region.len();
                if addresses.contains(&naive.rover) {
                    naive.rover = addresses.end;
                }
                arena.take_back(given);
                naive.holes.retain(|hole| hole.region != number);
                if random.below(2) == 0 {
                    add(&mut heap, &mut naive, &mut arena, shape, number);
                }
            }
        }
        if step % 64 == 0 {
            let mut naive_holes: Vec<_> = naive.holes.iter().map(|hole| (hole.start, hole.size)).collect();
            naive_holes.sort_unstable();
            assert_eq!(holes(&heap), naive_holes);
            heap.check_invariants().unwrap();
        }
    }
    steps
}

macro_rules! policies {
    ($($test:ident: $policy:ty, $rule:ident;)*) => {$(
        #[test]
        fn $test() {
            run::<$policy>(Rule::$rule);
        }
    )*};
}
policies! {
    best_fit_equals_a_scan: BestFit, Best;
    worst_fit_equals_a_scan: WorstFit, Worst;
    first_fit_equals_a_scan: FirstFit, First;
    next_fit_equals_a_scan: NextFit, Next;
    last_fit_equals_a_scan: LastFit, Last;
    half_fit_equals_a_scan: HalfFit, Half;
}
