//! Address-space identifiers: short numbers that CPUs tag translations with, dealt out by generations.
//!
//! ```text
//!   generation 7   │ 0 kernel │ 1 A │ 2 B │ 3 C │ … all taken │      D asks:
//!   generation 8   │ 0 kernel │ 1 D │ 2 . │ …                 │      every CPU flushes once before it runs D or A again
//! ```
#![forbid(unsafe_code)]

/// An address-space identifier (x86: PCID, 12 bits; RISC-V: up to 16; AArch64: 8 or 16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asid(u16);

impl Asid {
    /// Identifier `number`.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What an address space remembers of its identifier: which, and of which generation. A new one has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    generation: u64,
    number: u16,
}

/// What a CPU has to do to run an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a CPU that does not flush when it should uses another address space's translations"]
pub struct Activation {
    /// The identifier to load with the root.
    pub asid: Asid,
    /// Whether this CPU must first forget every translation that is not global: it enters a new generation.
    pub flush: bool,
}

/// Deals out identifiers. One for the machine, behind a lock; `CPUS` is the most CPUs it has.
///
/// An address space keeps its identifier until all are taken; then a new generation begins, in which only those spaces
/// that run at that moment keep theirs. Identifier 0 is never dealt out: it is for the kernel, or for no space.
///
/// ```
/// use hectare_paging::table::{AsidAllocator, Context};
///
/// let mut asids = AsidAllocator::<2>::new(2); // two CPUs, and identifiers of 2 bits: 1, 2 and 3
/// let mut spaces = [Context::default(); 4];
/// assert!(asids.activate(0, &mut spaces[0]).flush, "each CPU begins with a flush");
/// let first = asids.activate(0, &mut spaces[1]);
/// let again = asids.activate(0, &mut spaces[0]);
/// assert!(again.asid != first.asid && !again.flush, "its translations are still good");
///
/// // The fourth space finds all identifiers taken: a generation begins, and each CPU has to flush once.
/// let _ = asids.activate(1, &mut spaces[2]);
/// assert!(asids.activate(1, &mut spaces[3]).flush);
/// assert_eq!(asids.generation(), 2);
/// ```
///
/// # Invariants
/// * two contexts of the current generation that were activated have different numbers
/// * a CPU whose `seen` is the current generation holds translations of that generation's numbers only
/// * `generation` is not 0, which is that of new contexts
#[derive(Debug)]
pub struct AsidAllocator<const CPUS: usize> {
    generation: u64,
    /// The next number to deal out; those below are taken in this generation.
    next: u32,
    /// How many numbers there are.
    numbers: u32,
    /// The last generation that each CPU flushed for.
    seen: [u64; CPUS],
    /// What each CPU runs.
    running: [Running; CPUS],
    /// The numbers that were carried into this generation; they are not dealt out in it.
    reserved: [u16; CPUS],
}

/// What a CPU runs: the context as its owner has it, and the last generation into which its number was carried.
#[derive(Clone, Copy, Debug)]
struct Running {
    context: Context,
    carried: u64,
}

impl<const CPUS: usize> AsidAllocator<CPUS> {
    /// Numbers of `bits` bits, at most 16. If they do not suffice for one space on each CPU, every activation flushes.
    #[must_use]
    pub const fn new(bits: u8) -> Self {
        let bits = if bits > 16 { 16 } else { bits };
        let nothing = Running { context: Context { generation: 0, number: 0 }, carried: 0 };
        Self {
            generation: 1,
            next: 1,
            numbers: 1 << bits,
            seen: [0; CPUS],
            running: [nothing; CPUS],
            reserved: [0; CPUS],
        }
    }

    /// The CPU `cpu` is about to run the address space of `context`, and until it activates another it does.
    ///
    /// O(1) mostly; O(CPUs) for a space that comes from an older generation, and O(CPUs²) in all for each generation. A
    /// CPU number out of range flushes each time and gets identifier 0.
    pub fn activate(&mut self, cpu: usize, context: &mut Context) -> Activation {
        if self.numbers as usize <= CPUS + 1 || cpu >= CPUS {
            return Activation { asid: Asid(0), flush: true };
        }
        if context.generation != self.generation {
            self.renew(cpu, context);
        }
        if let Some(running) = self.running.get_mut(cpu) {
            *running = Running { context: *context, carried: self.generation };
        }
        let flush = match self.seen.get_mut(cpu) {
            Some(seen) if *seen == self.generation => false,
            Some(seen) => {
                *seen = self.generation;
                true
            }
            None => true,
        };
        Activation { asid: Asid(context.number), flush }
    }

    /// The generation that counts now.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives a context a number of the current generation.
    fn renew(&mut self, cpu: usize, context: &mut Context) {
        // One that some CPU has been running all the time keeps its number: that CPU still uses it.
        let (old, generation) = (*context, self.generation);
        let kept = |running: &&mut Running| running.context == old && running.carried == generation;
        let mut carried = false;
        for running in self.running.iter_mut().filter(kept) {
            running.context.generation = generation;
            carried = old.number != 0;
        }
        if carried {
            context.generation = generation;
            return;
        }
        self.skip_running();
        if self.next >= self.numbers {
            self.roll(cpu);
            self.skip_running();
        }
        // There are more numbers than CPUs, so one is left.
        #[expect(clippy::cast_possible_truncation, reason = "below the number of numbers, at most 2^16")]
        let number = self.next as u16;
        self.next += 1;
        *context = Context { generation: self.generation, number };
    }

    /// Passes the numbers that CPUs carried into this generation.
    fn skip_running(&mut self) {
        while self.next < self.numbers && self.is_carried(self.next) {
            self.next += 1;
        }
    }

    fn is_carried(&self, number: u32) -> bool {
        self.reserved.iter().any(|reserved| u32::from(*reserved) == number)
    }

    /// Begins a generation: what runs on other CPUs is carried over.
    fn roll(&mut self, cpu: usize) {
        let old = self.generation;
        self.generation += 1;
        self.next = 1;
        for (nth, (running, reserved)) in self.running.iter_mut().zip(&mut self.reserved).enumerate() {
            *reserved = 0;
            if nth != cpu && running.carried == old && !cfg!(hectare_plant = "asid_not_carried") {
                running.carried = self.generation;
                *reserved = running.context.number;
            }
        }
    }
}
