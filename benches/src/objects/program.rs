//! A kernel's objects, decoded beforehand into what the timed loop reads: 12 bytes an operation.
#![forbid(unsafe_code)]

use core::alloc::Layout;

use hectare_testkit::trace::objects::{ObjectOp, ObjectTrace};

/// Alignment of every object: a word's. The traces do not tell that of their caches.
pub(super) const ALIGN: usize = 8;

/// A cache of the recorded kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// Bytes of its objects.
    pub size: u32,
    /// A size class of `kmalloc`: its users asked for any size up to this.
    pub kmalloc: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Takes an object.
    Allocate,
    /// Takes one that is zero; the replay writes the zeros, for everybody alike.
    AllocateZeroed,
    /// Gives the object back.
    Free,
    /// Goes on as another CPU, whose number is in `size`.
    Cpu,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The object, below [`Program::slots`].
    pub slot: u32,
    /// Bytes: what was asked of `kmalloc`, or the size of the cache's objects.
    pub size: u32,
    /// The cache, below the number of [`Program::caches`].
    pub cache: u16,
    /// What to do.
    pub kind: OpKind,
}

impl Op {
    /// The layout of the object.
    #[inline(always)]
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::from_size_align(self.size as usize, ALIGN).unwrap_or(Layout::new::<u64>())
    }
}

/// A valid sequence of operations.
#[derive(Clone, Debug)]
pub struct Program {
    /// The trace's name.
    pub name: String,
    /// The caches.
    pub caches: Vec<Shape>,
    /// The operations, with the changes of CPU.
    pub ops: Vec<Op>,
    /// Allocations and frees.
    pub count: usize,
    /// Object slots.
    pub slots: usize,
    /// CPUs, at least 1.
    pub cpus: usize,
    /// The highest sum of the live objects' sizes as they were asked for.
    pub peak: u64,
    /// Most live objects.
    pub objects: usize,
    /// Frees of what is live at the end.
    pub survivors: Vec<Op>,
}

/// A trace that is not replayed: more than 2^16 caches, or an object of more than 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Program {
    /// The program of a trace, which is valid.
    ///
    /// # Errors
    /// See [`TooLarge`].
    pub fn recorded(trace: &ObjectTrace) -> Result<Self, TooLarge> {
        let mut caches = Vec::new();
        for cache in &trace.caches {
            let size = u32::try_from(cache.object_size).ok().filter(|size| *size <= 1 << 20);
            let kmalloc = cache.name.starts_with("kmalloc-");
            caches.push(Shape { name: cache.name.clone(), size: size.ok_or(TooLarge)?, kmalloc });
        }
        if caches.len() > 1 << 16 {
            return Err(TooLarge);
        }
        let mut this = Self {
            name: trace.header.name.clone(),
            caches,
            ops: Vec::with_capacity(trace.ops.len()),
            count: 0,
            slots: 0,
            cpus: 1,
            peak: 0,
            objects: 0,
            survivors: Vec::new(),
        };
        let mut live: Vec<Option<Op>> = Vec::new();
        let (mut bytes, mut objects) = (0, 0);
        for op in &trace.ops {
            let op = match *op {
                ObjectOp::Allocate { slot, cache, size, zeroed } => {
                    let shape = &this.caches[cache as usize];
                    let size = if shape.kmalloc { (size as u32).max(1) } else { shape.size };
                    let kind = if zeroed { OpKind::AllocateZeroed } else { OpKind::Allocate };
                    let op = Op { slot, size, cache: cache as u16, kind };
                    let index = slot as usize;
                    live.resize(live.len().max(index + 1), None);
                    live[index] = Some(op);
                    (bytes, objects) = (bytes + u64::from(size), objects + 1);
                    (this.peak, this.objects) = (this.peak.max(bytes), this.objects.max(objects));
                    op
                }
                ObjectOp::Free { slot } => {
                    let Some(old) = live[slot as usize].take() else { continue };
                    (bytes, objects) = (bytes - u64::from(old.size), objects - 1);
                    Op { kind: OpKind::Free, ..old }
                }
                ObjectOp::Cpu { cpu } => {
                    this.cpus = this.cpus.max(cpu as usize + 1);
                    Op { slot: 0, size: cpu, cache: 0, kind: OpKind::Cpu }
                }
                ObjectOp::Task { .. } | ObjectOp::Cache { .. } => continue,
            };
            this.count += usize::from(op.kind != OpKind::Cpu);
            this.ops.push(op);
        }
        this.slots = live.len();
        this.survivors = live.into_iter().flatten().map(|op| Op { kind: OpKind::Free, ..op }).collect();
        Ok(this)
    }

    /// An arena of so many `times` the peak and 16 MiB.
    #[must_use]
    pub fn arena_bytes(&self, times: usize) -> usize {
        (times * self.peak as usize + (16 << 20)).next_multiple_of(4096)
    }
}
