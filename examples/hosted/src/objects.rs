//! What a kernel keeps in slabs: tasks in a cache of their own, everything else in size classes.
#![expect(unsafe_code, reason = "gives blocks of the heap back")]

use core::alloc::Layout;
use core::fmt::Write;

use hectare::slab::{ByDefault, ObjectCache, SharedCache, SlabHeap, SlabInfo};
use hectare::{DirectMap, Heap, NoLock};

use crate::Failure;
use crate::machine::Frames;

/// A task: 6784 bytes, as Linux's `task_struct` was when the textbooks were written.
pub(crate) struct Task {
    pub(crate) pid: u32,
    pub(crate) name: [u8; 16],
    /// Registers, signals, accounting, …
    rest: [u8; 6784 - 20],
}

impl Default for Task {
    fn default() -> Self {
        Self { pid: 0, name: [0; 16], rest: [0; 6784 - 20] }
    }
}

impl Task {
    /// Makes a task that was used before, and is constructed still, this one.
    pub(crate) fn begin(&mut self, pid: u32, name: &str) {
        self.pid = pid;
        self.name = [0; 16];
        self.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        self.rest.fill(0);
    }
}

/// The cache of tasks.
pub(crate) type Tasks<'f, 'm> = SharedCache<NoLock, Task, &'f Frames<'m>, DirectMap, ByDefault>;
/// The kernel's heap.
pub(crate) type KernelHeap<'f, 'm> = Heap<NoLock, SlabHeap<&'f Frames<'m>, DirectMap>>;

pub(crate) fn caches<'f, 'm>(
    frames: &'f Frames<'m>,
    window: DirectMap,
) -> (Tasks<'f, 'm>, KernelHeap<'f, 'm>) {
    let tasks = ObjectCache::new("task_struct", ByDefault, frames, window);
    (SharedCache::new(NoLock::new(), tasks), Heap::new(SlabHeap::new(frames, window)))
}

/// A hundred tasks and the kernel's bits and pieces come and go.
pub(crate) fn stage(
    out: &mut String,
    tasks: &Tasks<'_, '_>,
    heap: &KernelHeap<'_, '_>,
) -> Result<(), Failure> {
    let layouts = [24, 100, 192, 768, 3000, 40_000].map(|size| Layout::from_size_align(size, 8));
    let mut alive = Vec::new();
    for pid in 1..=100 {
        let mut task = tasks.take()?;
        task.begin(pid, "worker");
        alive.push(task);
    }
    let mut blocks = Vec::new();
    for layout in layouts {
        let layout = layout?;
        for _ in 0..20 {
            blocks.push((heap.allocate_block(layout)?, layout));
        }
    }
    writeln!(out, "100 tasks, 120 blocks of the heap:")?;
    show(out, tasks, heap)?;
    alive.truncate(5);
    for (block, layout) in blocks {
        // SAFETY: taken above with this layout, and never used.
        unsafe { heap.free_block(block, layout) }?;
    }
    writeln!(
        out,
        "5 tasks left, and no block; those freed last wait in front of the slabs, and count as active:"
    )?;
    show(out, tasks, heap)?;
    Ok(())
}

/// As `/proc/slabinfo`, without the size classes that have no slab.
pub(crate) fn show(
    out: &mut String,
    tasks: &Tasks<'_, '_>,
    heap: &KernelHeap<'_, '_>,
) -> Result<(), Failure> {
    let mut caches = vec![tasks.info()?];
    heap.with(|heap| caches.extend(heap.info().filter(|cache| cache.slabs > 0)))?;
    write!(out, "{}", SlabInfo(&caches))?;
    Ok(())
}
