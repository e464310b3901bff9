//! Two tables of a format, one of them in the MMU, and what happens to them.
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;

use hectare_core::{AccessKind, CheckInvariants, DirectMap, Frame, FrameRun, Page, PageRun, Permissions};
use hectare_paging::table::Live as Window;
use hectare_paging::{Attributes, Flush, MapOptions, MemoryType, PageTable, Touched};

use crate::arch::{self, Console, Machine};
use crate::check::Checks;
use crate::memory::Memory;
use crate::model::{Report, Slot};
use crate::operation::{self, At, Operation};
use crate::probe::Answers;
use crate::random::Random;
use crate::tlb::{Here, PAID, STALE_CODE};

type Table<'m, F> = PageTable<F, Window<DirectMap, Here>, &'m Memory<F>>;

/// How long; another number by `HECTARE_STEPS=…`, when it is built.
const STEPS: u64 = number(option_env!("HECTARE_STEPS"), 6000);
/// Of all that is random; another one by `HECTARE_SEED=…`.
const SEED: u64 = number(option_env!("HECTARE_SEED"), 7);
/// Pages of the widest window: AArch64 with a granule of 64 KiB.
const MOST: usize = 3 << 13;
const fn number(text: Option<&str>, default: u64) -> u64 {
    match text {
        None => default,
        Some(text) => match u64::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("not a number"),
        },
    }
}

static mut SLOTS: [[Slot; MOST]; 2] = [[None; MOST]; 2];

/// A table, and what it should map.
pub struct Side<'m, F: Machine> {
    pub table: Table<'m, F>,
    pub slots: &'m mut [Slot],
    /// Number of the window's first page.
    pub first: u64,
    pub owed: Option<Flush>,
}

pub struct Live<'m, F: Machine> {
    pub sides: [Side<'m, F>; 2],
    /// Which one the MMU uses.
    pub loaded: usize,
    pub memory: &'m Memory<F>,
    pub random: Random,
    pub answers: Answers,
    checks: &'m mut Checks,
    step: u64,
    pub operation: Operation,
    /// The source of tables may refuse at this step.
    pub limited: bool,
    pub refused: u32,
    /// Pages that were reported as parts of large leaves.
    pub large: u64,
}

/// Tries one format, if the CPU has it.
pub fn run<F: Machine>(checks: &mut Checks) {
    let memory = Memory::<F>::new();
    // SAFETY: one format runs at a time, and has given up its borrow when it returns.
    let [one, other] = unsafe { &mut *(&raw mut SLOTS) };
    let sides = [one, other].map(|slots| {
        let slots = &mut slots[..operation::window::<F>()];
        slots.fill(None);
        Side::new(&memory, slots)
    });
    // SAFETY: the table shows memory and devices where they are.
    if !unsafe { F::load(sides[0].table.root()) } {
        let _ = writeln!(Console, "not on this CPU: {}", F::NAME);
        return;
    }
    let operation = Operation::Coalesce(At { first: 0, count: 1 });
    let mut live = Live {
        sides,
        loaded: 0,
        memory: &memory,
        random: Random::new(SEED),
        answers: Answers::default(),
        checks,
        step: 0,
        operation,
        limited: false,
        refused: 0,
        large: 0,
    };
    let tables = live.sides[0].table.tables();
    for step in 0..STEPS {
        live.step = step;
        live.step();
    }
    live.end(tables);
}

impl<'m, F: Machine> Side<'m, F> {
    fn new(memory: &'m Memory<F>, slots: &'m mut [Slot]) -> Self {
        let mut table =
            Table::<F>::new(Window::new(memory.direct(), Here), memory).expect("a frame for the root");
        let all = Permissions::READ | Permissions::WRITE | Permissions::EXECUTE;
        let devices =
            Attributes::new(Permissions::READ | Permissions::WRITE).with_memory(MemoryType::DeviceStrict);
        let devices = arch::DEVICES.iter().map(|range| (*range, devices));
        for ((start, end), attributes) in
            core::iter::once((arch::MEMORY, Attributes::new(all))).chain(devices)
        {
            let (first, count) = (start >> F::PAGE.log2(), (end - start) >> F::PAGE.log2());
            let frames = FrameRun::new(Frame::new(first), count).expect("frames");
            let options = MapOptions::DEFAULT.with_touched(Touched::DIRTY);
            table
                .map(Page::new(first), frames, F::nearest(attributes), options)
                .expect("room for the program")
                .later();
        }
        // The border between the third and the last quarter of the root: in the upper half, where there is one.
        let top = F::LEVELS - 1;
        let border = (F::entries(top) as u64 * 3 / 4) << F::SHIFTS[top];
        let border = F::delinear(border).value() >> F::PAGE.log2();
        Self { table, slots, first: border - operation::window::<F>() as u64 / 2, owed: None }
    }

    pub fn pages(&self, at: At) -> PageRun {
        PageRun::new(Page::new(self.first + at.first as u64), at.count as u64).expect("pages of the window")
    }
}

impl<F: Machine> Live<'_, F> {
    /// One that must hold; if not, the run ends and says where it was.
    pub fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            let Self { step, operation, .. } = self;
            let _ = writeln!(Console, "{}, HECTARE_SEED={SEED}, step {step}: {operation:x?}", F::NAME);
        }
        self.checks.that(holds, what);
        if !holds {
            arch::exit(false);
        }
    }

    /// The window's page.
    pub fn address(&self, page: usize) -> u64 {
        (self.sides[0].first + page as u64) << F::PAGE.log2()
    }

    /// What was touched before is in the translation caches: a missing flush shows.
    fn step(&mut self) {
        let who = if self.random.below(4) == 0 { 1 - self.loaded } else { self.loaded };
        let slots = &self.sides[who].slots;
        self.operation = operation::any::<F>(&mut self.random, |page| slots[page].is_none());
        let At { first, count } = self.operation.at();
        let mut pages = [first, first.wrapping_sub(1), first + count - 1, first + count, first, first, first];
        pages[4] += operation::below(&mut self.random, count);
        pages[5] += operation::below(&mut self.random, count);
        pages[6] = match self.operation {
            Operation::Remap(_, to) => to + operation::below(&mut self.random, count),
            _ => operation::below(&mut self.random, slots.len()),
        };
        self.probes(&pages);
        self.limited = self.random.below(8) == 0;
        self.memory.allowance.set(if self.limited { self.random.below(4) } else { u64::MAX });
        self.operate(who);
        self.memory.allowance.set(u64::MAX);
        if self.random.below(3) != 0 {
            self.pay(who);
        }
        self.probes(&pages);
        if self.random.below(16) == 0 {
            self.loaded = 1 - self.loaded;
            // SAFETY: it shows memory and devices where they are, as the other does.
            let _ = unsafe { F::load(self.sides[self.loaded].table.root()) };
            STALE_CODE.store(false, Relaxed);
        }
        if self.step % 32 == 0 {
            self.audit();
        }
    }

    /// The MMU's answers count when nothing is owed.
    fn probes(&mut self, pages: &[usize]) {
        if self.sides[self.loaded].owed.is_some() {
            return;
        }
        for page in pages {
            let kind = [
                AccessKind::Read,
                AccessKind::Write,
                AccessKind::Read,
                AccessKind::Write,
                AccessKind::Execute,
            ][operation::below(&mut self.random, 5)];
            if *page < operation::window::<F>() {
                self.probe(*page, kind);
            }
        }
    }

    /// Pays what a table's operations owe.
    pub fn pay(&mut self, who: usize) {
        let Side { table, owed, .. } = &mut self.sides[who];
        if let Some(token) = owed.take() {
            table.finish(token, &Here).expect("its own token");
        }
    }

    /// Both tables are sound, and all that they say of the window is right.
    fn audit(&mut self) {
        for who in 0..2 {
            let data = self.memory.data.first();
            let Side { table, slots, first, .. } = &self.sides[who];
            let mut report = Report::new(slots, *first, data);
            let all = At { first: 0, count: slots.len() };
            table.runs(self.sides[who].pages(all)).expect("the window").for_each(|run| report.run(run));
            self.large += report.large;
            let (wrong, sound) = (report.end(), table.check_invariants());
            if let Err(violation) = sound {
                let _ = writeln!(Console, "{violation:x?}");
            }
            self.check(wrong.is_none(), wrong.unwrap_or("a table reports what the model says"));
            self.check(sound.is_ok(), "the tables are sound");
        }
    }

    /// Unmaps everything, leaves the tables, and looks for what was lost. `tables`: how many each had in the beginning.
    fn end(mut self, tables: u64) {
        self.audit();
        for who in 0..2 {
            self.operation = Operation::Unmap(At { first: 0, count: operation::window::<F>() });
            self.operate(who);
            self.pay(who);
            let left = self.sides[who].table.tables();
            self.check(left == tables, "tables that became empty were given back");
        }
        // SAFETY: the tables of the start, or none, show the program too.
        unsafe { arch::leave() };
        let (accesses, faults) = (self.answers.accesses, self.answers.faults);
        self.check(
            faults > accesses / 10 && faults < accesses * 9 / 10,
            "there were faults, and not only faults",
        );
        self.check(self.large > 0, "there were large leaves");
        self.check(self.refused > 0, "there were refusals");
        let [page, all, root] = [0, 1, 2].map(|what| PAID[what].swap(0, Relaxed));
        let _ = writeln!(
            Console,
            "{}, {} bits: {STEPS} changes, {} refused; {accesses} accesses, {faults} faults, {} marks by software; dropped: {page} pages, all {all} times, root {root} times",
            F::NAME,
            F::SHIFTS[F::LEVELS],
            self.refused,
            self.answers.marked,
        );
        for side in self.sides {
            side.table.destroy(&Here);
        }
        self.checks.that(self.memory.taken() == 0, "every table was given back");
    }
}
