//! Engines over leaked tables, and a model that is obviously right.

use core::num::NonZero;

use hectare_buddy::{Banks, Engine, Geometry, Request, words_for};
use hectare_core::{CheckInvariants, Frame, FrameRun, Order};

pub(crate) fn run(first: u64, count: u64) -> FrameRun {
    FrameRun::new(Frame::new(first), count).unwrap()
}

pub(crate) fn order(k: u8) -> Order {
    Order::new(k).unwrap()
}

pub(crate) fn frames(count: u64) -> NonZero<u64> {
    NonZero::new(count).unwrap()
}

/// Memory for the engine of one test: its tables and words live here.
#[derive(Default)]
pub(crate) struct Memory<W> {
    table: Vec<Option<FrameRun>>,
    words: Vec<W>,
}

impl<W: Clone> Memory<W> {
    /// An engine over these banks, in words full of rubbish.
    pub(crate) fn engine<G: Geometry<Word = W>>(&mut self, banks: &[FrameRun], rubbish: W) -> Engine<'_, G> {
        self.table = vec![None; banks.len() + 8];
        let mut table = Banks::new(&mut self.table);
        banks.iter().for_each(|bank| table.add(*bank).unwrap());
        self.words = vec![rubbish; words_for::<G>(table.span().unwrap()).unwrap()];
        let engine = Engine::new(table, &mut self.words).unwrap();
        engine.check_invariants().unwrap();
        engine
    }
}

/// Which frames there are, and which of them are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    first: u64,
    managed: Vec<bool>,
    free: Vec<bool>,
}

impl Plain {
    pub(crate) fn new(span: FrameRun, banks: &[FrameRun]) -> Self {
        let managed: Vec<bool> =
            span.iter().map(|frame| banks.iter().any(|bank| bank.contains(run(frame.number(), 1)))).collect();
        Self { first: span.first().number(), free: managed.clone(), managed }
    }

    fn all(flags: &[bool], first: u64, run: FrameRun, so: bool) -> bool {
        run.iter().all(|frame| {
            let at = frame.number().checked_sub(first).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| flags.get(at)).copied() == Some(so)
        })
    }

    pub(crate) fn manages(&self, run: FrameRun) -> bool {
        Self::all(&self.managed, self.first, run, true)
    }

    pub(crate) fn is_free(&self, run: FrameRun) -> bool {
        Self::all(&self.free, self.first, run, true)
    }

    pub(crate) fn is_allocated(&self, run: FrameRun) -> bool {
        self.manages(run) && Self::all(&self.free, self.first, run, false)
    }

    pub(crate) fn mark(&mut self, run: FrameRun, free: bool) {
        for frame in run.iter() {
            self.free[usize::try_from(frame.number() - self.first).unwrap()] = free;
        }
    }

    pub(crate) fn manage(&mut self, run: FrameRun, managed: bool) {
        self.mark(run, managed);
        for frame in run.iter() {
            self.managed[usize::try_from(frame.number() - self.first).unwrap()] = managed;
        }
    }

    /// Whether some run would do.
    pub(crate) fn serves(&self, request: &Request) -> bool {
        (self.first..self.first + self.free.len() as u64).any(|first| {
            FrameRun::new(Frame::new(first), request.count.get()).is_some_and(|run| self.suits(request, run))
        })
    }

    /// Whether this run is what the request asks for.
    pub(crate) fn suits(&self, request: &Request, run: FrameRun) -> bool {
        run.count() == request.count.get()
            && run.first().is_aligned(request.align)
            && run.first() >= request.from
            && run.end() <= request.limit
            && self.is_free(run)
    }

    /// Compares every frame, the holes and the blocks by order.
    pub(crate) fn check<G: Geometry>(&self, engine: &Engine<'_, G>) {
        engine.check_invariants().unwrap();
        for (at, free) in self.free.iter().enumerate() {
            let frame = Frame::new(self.first + at as u64);
            assert_eq!(engine.is_free(frame), *free, "{frame:?}");
        }
        let free = self.free.iter().filter(|free| **free).count() as u64;
        assert_eq!(engine.free_frames(), free);
        assert_eq!(engine.free_runs().map(FrameRun::count).sum::<u64>(), free);
        assert_eq!(engine.capacity(), self.managed.iter().filter(|managed| **managed).count() as u64);
        let census = engine.census();
        for k in 0..20 {
            let size = order(k).frames();
            let block = |first: u64, size: u64| first % size == 0 && self.is_free(run(first, size));
            let expected: Vec<Frame> = (self.first..self.first + self.free.len() as u64)
                .filter(|first| block(*first, size) && !block(first / (2 * size) * 2 * size, 2 * size))
                .map(Frame::new)
                .collect();
            assert_eq!(census.blocks(order(k)), expected.len() as u64, "order {k}");
            assert_eq!(engine.free_blocks(order(k)).collect::<Vec<_>>(), expected, "order {k}");
        }
    }
}
