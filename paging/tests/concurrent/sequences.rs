//! Sequences of operations, each in a transaction of its own, beside a map of pages.

use core::ops::Range;
use std::collections::BTreeMap;

use hectare_core::{Frame, Page};
use hectare_paging::format::{AArch64, Pae, RiscV, Sv39, Toy, X86_64, riscv};
use hectare_paging::table::{MapOptions, TableError};
use hectare_paging::{Attributes, Mapping, TableFormat, Touched};
use proptest::prelude::*;

use super::world::{Is, expand, frames, pages, tlb};
use super::{Table, free, rights, with_table};

#[derive(Clone, Copy, Debug)]
enum Op {
    Map { frame: u64, rights: usize, large: bool, base: bool },
    Unmap,
    Forget,
    Protect { rights: usize },
    Update { rights: usize },
    Harvest,
    Touch { dirty: bool },
    Coalesce,
    Remap { to: u64 },
    Replace { frame: u64, rights: usize },
    Keep { state: u64 },
}

/// An operation, on which pages, and how much wider its transaction is on either side.
#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    first: u64,
    count: u64,
    wider: [u64; 2],
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = (any::<u64>(), prop_oneof![0..3_u64, 0..600_u64, Just(511), any::<u64>()]);
    let op = prop_oneof![
        6 => (0..4000_u64, 0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(frame, rights, large, base)| Op::Map { frame, rights, large, base }),
        3 => Just(Op::Unmap),
        1 => Just(Op::Forget),
        3 => (0..3_usize).prop_map(|rights| Op::Protect { rights }),
        1 => (0..3_usize).prop_map(|rights| Op::Update { rights }),
        2 => Just(Op::Harvest),
        1 => any::<bool>().prop_map(|dirty| Op::Touch { dirty }),
        2 => Just(Op::Coalesce),
        2 => any::<u64>().prop_map(|to| Op::Remap { to }),
        1 => (0..4000_u64, 0..3_usize).prop_map(|(frame, rights)| Op::Replace { frame, rights }),
        1 => (0..3_u64).prop_map(|state| Op::Keep { state }),
    ];
    let wider = || prop_oneof![3 => Just(0_u64), 1 => 0..3_u64, 1 => 0..600_u64, 1 => Just(u64::MAX)];
    let step = (op, at, wider(), wider()).prop_map(|(op, (first, count), before, behind)| Step {
        op,
        first: if matches!(op, Op::Map { large: true, .. }) { first & !511 } else { first },
        count,
        wider: [before, behind],
    });
    proptest::collection::vec(step, 1..24)
}

/// What the table must say.
#[derive(Default)]
struct Model {
    pages: BTreeMap<u64, Is>,
    states: BTreeMap<u64, u64>,
}

impl Model {
    fn there(&self, pages: Range<u64>) -> Vec<(u64, Is)> {
        self.pages.range(pages).map(|(page, is)| (*page, *is)).collect()
    }

    fn clear(&mut self, pages: &Range<u64>) {
        self.pages.retain(|page, _| !pages.contains(page));
        self.states.retain(|page, _| !pages.contains(page));
    }

    fn change(&mut self, pages: Range<u64>, change: impl Fn(&mut Is)) {
        self.pages.range_mut(pages).for_each(|(_, is)| change(is));
    }

    fn shift(&mut self, pages: &Range<u64>, to: u64) {
        let moved = self.there(pages.clone());
        let states: Vec<_> = self.states.range(pages.clone()).map(|(page, state)| (*page, *state)).collect();
        self.clear(pages);
        self.pages.extend(moved.into_iter().map(|(page, is)| (page - pages.start + to, is)));
        self.states.extend(states.into_iter().map(|(page, state)| (page - pages.start + to, state)));
    }
}

fn attributes<F: TableFormat>(index: usize) -> Attributes {
    F::nearest(Attributes::new(rights(index)))
}

/// Each operation in a transaction of its own; afterwards the table says what the model says.
fn follow<F: TableFormat>(span: Range<u64>, count: u64, steps: &[Step]) {
    with_table::<F>(count, |shared, source| {
        let mut model = Model::default();
        for step in steps {
            let first = span.start + step.first % (span.end - span.start);
            let count = (step.count % (span.end - span.start) + 1).min(span.end - first);
            let run = match step.op {
                Op::Replace { .. } | Op::Keep { .. } => first..first + 1,
                _ => first..first + count,
            };
            let before = free(source);
            let result = match step.op {
                Op::Remap { to } => {
                    remap(shared, &mut model, &run, span.start + to % (span.end - span.start), &span)
                }
                _ => change(shared, &mut model, step, &run, &span),
            };
            if result.is_err() {
                assert_eq!(free(source), before, "a refused call keeps frames: {result:?}");
            }
            look(shared, &model, &span, &run);
        }
    });
}

/// An operation on one range.
fn change<F: TableFormat>(
    shared: &Table<'_, F>,
    model: &mut Model,
    step: &Step,
    run: &Range<u64>,
    span: &Range<u64>,
) -> Result<(), TableError> {
    let from = run.start.saturating_sub(step.wider[0]).max(span.start);
    let to = run.end.saturating_add(step.wider[1]).min(span.end);
    let (first, count) = (run.start, run.end - run.start);
    let at = pages(first, count);
    let mut transaction = shared.transaction(pages(from, to - from)).expect("in reach");
    assert_eq!(transaction.pages(), pages(from, to - from));
    let outside = transaction.unmap(pages(from, to - from + 1), |_| {});
    assert!(matches!(outside, Err(TableError::Range { .. })), "one page too many: {outside:?}");
    let mut seen = vec![];
    let report = |run: Mapping<F>| expand(&run, &mut seen);
    let result = match step.op {
        Op::Map { frame, rights, large, base } => {
            let frame = if large { frame / 512 * 512 + first % 512 } else { frame };
            let largest = (base || !large).then_some(F::PAGE);
            let options = MapOptions { largest, ..MapOptions::DEFAULT };
            let attributes = attributes::<F>(rights);
            transaction.map(Page::new(first), frames(frame, count), attributes, options).map(|()| {
                assert!(model.there(run.clone()).is_empty() && model.states.range(run.clone()).count() == 0);
                let is = |nth| Is { frame: frame + nth, attributes, touched: Touched::NO };
                model.pages.extend((0..count).map(|nth| (first + nth, is(nth))));
            })
        }
        Op::Unmap => transaction.unmap(at, report).map(|()| {
            assert_eq!(seen, model.there(run.clone()));
            model.clear(run);
        }),
        Op::Forget => transaction.forget(at).map(|()| model.clear(run)),
        Op::Protect { rights } => {
            let permissions = attributes::<F>(rights).permissions;
            transaction
                .protect(at, permissions)
                .map(|()| model.change(run.clone(), |is| is.attributes.permissions = permissions))
        }
        Op::Update { rights } => transaction
            .update(at, |_| attributes::<F>(rights))
            .map(|()| model.change(run.clone(), |is| is.attributes = attributes::<F>(rights))),
        Op::Harvest => transaction.harvest(at, Touched::DIRTY, report).map(|()| {
            assert_eq!(seen, model.there(run.clone()));
            model.change(run.clone(), |is| is.touched = Touched::NO);
        }),
        Op::Touch { dirty } => {
            let touched = if dirty { Touched::DIRTY } else { Touched::ACCESSED };
            let result = transaction.touch(at, touched);
            result.map(|()| model.change(run.clone(), |is| is.touched = is.touched.or(touched)))
        }
        Op::Coalesce => transaction.coalesce(at).map(|()| {
            // What may have been set through some cache counts as set.
            let mut there = vec![];
            transaction.runs(at).expect("its own").for_each(|run| expand(&run, &mut there));
            for (page, now) in there.into_iter().filter(|(page, _)| run.contains(page)) {
                let is = model.pages.get_mut(&page).expect("it is mapped");
                assert_eq!(now.touched.or(is.touched), now.touched, "a bit of page {page:#x} was lost");
                is.touched = now.touched;
            }
        }),
        Op::Replace { frame, rights } => {
            let attributes = attributes::<F>(rights);
            let result = transaction.replace(Page::new(first), Frame::new(frame), attributes, Touched::DIRTY);
            let there = model.pages.contains_key(&first) || model.states.contains_key(&first);
            assert!(there || matches!(result, Err(TableError::Absent { .. })), "{result:?}");
            result.map(|()| {
                model.clear(run);
                model.pages.insert(first, Is { frame, attributes, touched: Touched::DIRTY });
            })
        }
        Op::Keep { state } => transaction.set_state(Page::new(first), state).map(|()| {
            model.clear(run);
            model.states.extend((state != 0).then_some((first, state)));
        }),
        Op::Remap { .. } => Ok(()),
    };
    // Seen from inside.
    let mut inside = vec![];
    transaction.runs(pages(from, to - from)).expect("its own").for_each(|run| expand(&run, &mut inside));
    inside.retain(|(page, _)| (from..to).contains(page));
    assert_eq!(inside, model.there(from..to), "after {step:?}: {result:?}");
    let states: Vec<_> = transaction.states(pages(from, to - from)).expect("its own").collect();
    let kept: Vec<_> = model.states.range(from..to).map(|(page, state)| (Page::new(*page), *state)).collect();
    assert_eq!(states, kept, "after {step:?}: {result:?}");
    let start = Page::new(first).start(F::PAGE).expect("an address");
    let state = (!model.pages.contains_key(&first)).then(|| model.states.get(&first).copied().unwrap_or(0));
    assert_eq!(transaction.absent_state(start), Ok(state));
    shared.finish(transaction.commit(), &tlb()).expect("its own token");
    result
}

fn remap<F: TableFormat>(
    shared: &Table<'_, F>,
    model: &mut Model,
    run: &Range<u64>,
    to: u64,
    span: &Range<u64>,
) -> Result<(), TableError> {
    let count = (run.end - run.start).min(span.end - to);
    let run = run.start..run.start + count;
    let (from, into) = (pages(run.start, count), pages(to, count));
    let Ok(mut transaction) = shared.transaction_on_both(from, into) else {
        assert!(from.overlaps(into));
        return Ok(());
    };
    assert_eq!(
        [Some(transaction.pages()), transaction.other_pages()],
        if run.start < to { [Some(from), Some(into)] } else { [Some(into), Some(from)] }
    );
    let result = transaction.remap(from, into.first());
    if result.is_ok() {
        assert!(model.there(to..to + count).is_empty() && model.states.range(to..to + count).count() == 0);
        model.shift(&run, to);
    }
    shared.finish(transaction.commit(), &tlb()).expect("its own token");
    look(shared, model, span, &(to..to + count));
    result
}

/// Without a lock.
fn look<F: TableFormat>(shared: &Table<'_, F>, model: &Model, span: &Range<u64>, run: &Range<u64>) {
    for page in [span.start, run.start, run.end - 1, run.end.min(span.end - 1)] {
        let hit = shared.find(Page::new(page).start(F::PAGE).expect("an address"));
        let frame = hit.map(|hit| hit.address.value() >> F::PAGE.log2());
        assert_eq!(frame, model.pages.get(&page).map(|is| is.frame), "page {page:#x}");
    }
    let mut there = vec![];
    let all = pages(span.start, span.end - span.start);
    shared.each_run(all, |run| expand(&run, &mut there)).expect("in reach");
    assert_eq!(there, model.there(span.clone()));
}

macro_rules! formats {
    ($($name:ident: $format:ty, $window:expr, $frames:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $name(steps in steps()) {
                follow::<$format>($window, $frames, &steps);
            }
        }
    )*};
}
formats! {
    toy: Toy<3, 2, 1>, 0..64, 16;
    x86_64: X86_64<4>, 0x3_FC00..0x4_0400, 9;
    pae: Pae, 0xBFC00..0xC0400, 6;
    sv39: Sv39, 0x3_FC00..0x4_0400, 7;
    sv39_svnapot: RiscV<3, { riscv::SVNAPOT | riscv::SVADU }>, 0x3_FC00..0x4_0400, 7;
    aarch64: AArch64<12>, 0x3_FC00..0x4_0400, 9;
}
