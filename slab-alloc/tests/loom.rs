//! The caches of many CPUs under loom, which runs every interleaving and every allowed outcome of weak memory.
//!
//! `RUSTFLAGS="--cfg hectare_loom" cargo test --release -p hectare-slab --test loom`. Magazines have two rounds here, the
//! depot one magazine, the mailbox two places; `-- --nocapture` shows how many executions each model has. The objects are
//! loom's cells: an object that comes from one thread to another without everything that was written to it is reported. The
//! planted faults (`mailbox_relaxed`, `depot_keeps_both`, `cpu_slot_shared`) must make it fail.
#![cfg(hectare_loom)]
#![expect(clippy::unwrap_used, reason = "tests")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, CpuPin, DirectMap, Frame, FrameRequest, FrameRun, FrameSource, FreeError, NoCpu, PageSize,
    PhysAddr, RawLock, Reentered, Slot, SpinLock,
};
use hectare_slab::{CpuCache, CpuHeap, ObjectCache};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

const FRAMES: usize = 64;
const FRAME: usize = 256;
const LAYOUT: Layout = match Layout::from_size_align(FRAMES * FRAME, FRAMES * FRAME) {
    Ok(layout) => layout,
    Err(_) => panic!("a layout"),
};

/// A few small frames in memory of their own; all must be back at the end.
struct Frames {
    memory: NonNull<u8>,
    used: [bool; FRAMES],
}

impl Frames {
    fn new() -> (Self, DirectMap) {
        // SAFETY: the size is not 0.
        let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(LAYOUT) }).unwrap();
        // SAFETY: this memory, which lives as long as the source.
        let window = unsafe { DirectMap::new(memory, PhysAddr::new(0), (FRAMES * FRAME) as u64) }.unwrap();
        (Self { memory, used: [false; FRAMES] }, window)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        assert_eq!(self.used, [false; FRAMES], "every frame came back");
        // SAFETY: allocated in `new`.
        unsafe { std::alloc::dealloc(self.memory.as_ptr(), LAYOUT) };
    }
}

// SAFETY: the memory is the source's.
unsafe impl Send for Frames {}

// SAFETY: (1) the memory is real; (2) the run is as asked; (3) its flags were clear and are set now; (4), (5) as asked.
unsafe impl FrameSource for Frames {
    const FRAME_SIZE: PageSize = PageSize::from_bytes(FRAME as u64).unwrap();

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let (count, step) = (request.count.get() as usize, request.align.frames() as usize);
        let free =
            |start: &usize| self.used.get(*start..start + count).is_some_and(|flags| !flags.contains(&true));
        let start = (0..FRAMES).step_by(step).find(free).ok_or(AllocError::OutOfMemory)?;
        self.used[start..start + count].fill(true);
        Ok(FrameRun::new(Frame::new(start as u64), count as u64).unwrap())
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let start = run.first().number() as usize;
        self.used[start..start + run.count() as usize].fill(false);
        Ok(())
    }
}

/// Two slots; whoever comes takes the first that is free.
struct Slots([AtomicBool; 2]);

impl Slots {
    fn new() -> Self {
        Self([AtomicBool::new(false), AtomicBool::new(false)])
    }
}

/// The planted fault: two CPUs in one slot.
const TAKEN: bool = !cfg!(hectare_plant = "cpu_slot_shared");

/// Takes a flag that is clear. A compare-and-swap: a swap that finds it set writes, too, and loom lets that write come after
/// the owner's last one (even of two threads that do nothing else, and in `SeqCst`), which C++ forbids: a swap comes right
/// behind the write that it reads. The flag would be stuck, and its slot never drained.
fn claim(busy: &AtomicBool) -> bool {
    busy.compare_exchange(false, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

// SAFETY: the compare-and-swap lets one closure into a slot; its store releases, the next swap acquires.
unsafe impl CpuPin for Slots {
    fn slots(&self) -> u32 {
        2
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        for (number, busy) in self.0.iter().enumerate() {
            if claim(busy) {
                let result = f(Some(Slot::new(number as u16)));
                busy.store(false, Ordering::Release);
                return result;
            }
        }
        f(None)
    }

    fn request_drain(&self, drain: &(dyn Fn(Slot) + Sync)) {
        for (number, busy) in self.0.iter().enumerate() {
            if claim(busy) {
                drain(Slot::new(number as u16));
                busy.store(false, Ordering::Release);
            }
        }
    }
}

/// Refuses instead of waiting, as a lock does that knows it is held further up the stack.
struct TryLock(AtomicBool);

// SAFETY: the compare-and-swap lets one closure in.
unsafe impl RawLock for TryLock {
    fn with<R>(&self, f: impl FnOnce() -> R) -> Result<R, Reentered> {
        if self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(Reentered);
        }
        let result = f();
        self.0.store(false, Ordering::Release);
        Ok(result)
    }
}

/// What lives in the cache: loom sees every access.
struct Object(UnsafeCell<u64>, [u64; 2]);

impl Object {
    fn make() -> Self {
        Self(UnsafeCell::new(0), [7; 2])
    }

    /// Writes to an object that is ours alone.
    fn write(object: NonNull<Self>, value: u64) {
        // SAFETY: a live object.
        let this = unsafe { object.as_ref() };
        assert_eq!(this.1, [7; 2], "constructed");
        // SAFETY: ours alone; loom checks that.
        this.0.with_mut(|cell| unsafe { *cell = value });
    }

    fn read(object: NonNull<Self>) -> u64 {
        // SAFETY: a live object.
        let this = unsafe { object.as_ref() };
        // SAFETY: ours alone; loom checks that.
        this.0.with(|cell| unsafe { *cell })
    }
}

type Cache<P, L> = CpuCache<P, L, ObjectCache<Object, Frames, DirectMap, fn() -> Object, 1>, 2>;

fn cache<P: CpuPin, L: RawLock>(pin: P, lock: L) -> Arc<Cache<P, L>> {
    let (frames, window) = Frames::new();
    let objects = ObjectCache::new("objects", Object::make as fn() -> Object, frames, window);
    Arc::new(CpuCache::new(pin, lock, objects))
}

/// Takes three objects, writes and reads them, gives them back: the third free finds both magazines full, so that one goes
/// to the depot.
fn use_three<P: CpuPin, L: RawLock>(cache: &Cache<P, L>, mark: u64) {
    let objects = [0; 3].map(|_| cache.allocate().unwrap());
    for (object, mark) in objects.into_iter().zip(mark..) {
        Object::write(object, mark);
    }
    for (object, mark) in objects.into_iter().zip(mark..) {
        assert_eq!(Object::read(object), mark);
        // SAFETY: a live object.
        unsafe { cache.free(object) }.unwrap();
    }
}

/// Runs every execution of a model, and says how many there were. The bound keeps a model to seconds; the slots and the lock
/// give few places to be interrupted.
fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    let (count, start) =
        (std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)), std::time::Instant::now());
    let counted = count.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let count = count.load(std::sync::atomic::Ordering::Relaxed);
    println!("{name}: {count} executions in {:.1} s", start.elapsed().as_secs_f64());
}

fn rejected<P: CpuPin, L: RawLock>(cache: &Cache<P, L>) {
    assert_eq!(cache.rejected(), Ok(0));
    cache.check_slabs().unwrap();
}

#[test]
fn two_cpus_exchange_magazines() {
    check("two_cpus_exchange_magazines", || {
        let cache = cache(Slots::new(), SpinLock::new());
        let other = {
            let cache = cache.clone();
            thread::spawn(move || use_three(&cache, 10))
        };
        use_three(&cache, 20);
        other.join().unwrap();
        rejected(&cache);
    });
}

#[test]
fn an_object_freed_elsewhere_comes_back_whole() {
    check("an_object_freed_elsewhere_comes_back_whole", || {
        let cache = cache(Slots::new(), SpinLock::new());
        let object = cache.allocate().unwrap();
        Object::write(object, 1);
        let address = object.expose_provenance();
        let other = {
            let cache = cache.clone();
            thread::spawn(move || {
                let object = NonNull::<Object>::with_exposed_provenance(address);
                Object::write(object, Object::read(object) + 1);
                // SAFETY: handed over to this thread.
                unsafe { cache.free(object) }.unwrap();
            })
        };
        use_three(&cache, 20);
        other.join().unwrap();
        rejected(&cache);
    });
}

#[test]
fn a_drain_meets_an_allocation() {
    check("a_drain_meets_an_allocation", || {
        let cache = cache(Slots::new(), SpinLock::new());
        use_three(&cache, 30);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || cache.shrink_all().unwrap())
        };
        let object = cache.allocate().unwrap();
        Object::write(object, 5);
        other.join().unwrap();
        assert_eq!(Object::read(object), 5);
        // SAFETY: a live object.
        unsafe { cache.free(object) }.unwrap();
        rejected(&cache);
    });
}

/// The last object of a slab comes back on one CPU while another gives empty slabs to the source.
#[test]
fn a_slab_retires_while_its_object_comes_back() {
    check("a_slab_retires_while_its_object_comes_back", || {
        let cache = cache(Slots::new(), SpinLock::new());
        let object = cache.allocate().unwrap();
        let address = object.expose_provenance();
        let other = {
            let cache = cache.clone();
            thread::spawn(move || {
                let object = NonNull::<Object>::with_exposed_provenance(address);
                Object::write(object, 6);
                // SAFETY: handed over to this thread.
                unsafe { cache.free(object) }.unwrap();
                let _ = cache.flush();
            })
        };
        cache.shrink_all().unwrap();
        other.join().unwrap();
        rejected(&cache);
        cache.shrink_all().unwrap();
        assert_eq!(cache.info().unwrap().slabs, 0, "nothing holds the slab any more");
    });
}

/// Slots that the test has too.
struct Interrupted(Arc<Slots>);

// SAFETY: the slots'.
unsafe impl CpuPin for Interrupted {
    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn with<R>(&self, f: impl FnOnce(Option<Slot>) -> R) -> R {
        self.0.with(f)
    }
}

/// A slot that is in use further up: another one or the shared path, and nothing is lost.
#[test]
fn an_interrupted_slot_takes_another_path() {
    check("an_interrupted_slot_takes_another_path", || {
        let slots = Arc::new(Slots::new());
        let cache = cache(Interrupted(slots.clone()), SpinLock::new());
        let other = {
            let cache = cache.clone();
            thread::spawn(move || {
                let object = cache.allocate().unwrap();
                Object::write(object, 4);
                // SAFETY: a live object.
                unsafe { cache.free(object) }.unwrap();
            })
        };
        slots.with(|_| {
            let inner = cache.allocate().unwrap();
            Object::write(inner, 3);
            // SAFETY: a live object.
            unsafe { cache.free(inner) }.unwrap();
        });
        other.join().unwrap();
        rejected(&cache);
    });
}

/// The lock is busy: frees wait in the mailbox, and whoever has the lock next takes them in, whole.
#[test]
fn frees_wait_in_the_mailbox() {
    check("frees_wait_in_the_mailbox", || {
        let cache = cache(NoCpu, TryLock(AtomicBool::new(false)));
        let (first, second) = (cache.allocate().unwrap(), cache.allocate().unwrap());
        let address = first.expose_provenance();
        let other = {
            let cache = cache.clone();
            thread::spawn(move || {
                let object = NonNull::<Object>::with_exposed_provenance(address);
                Object::write(object, 9);
                // SAFETY: handed over to this thread.
                unsafe { cache.free(object) }.unwrap();
            })
        };
        Object::write(second, 8);
        // SAFETY: a live object.
        unsafe { cache.free(second) }.unwrap();
        if let Ok(object) = cache.allocate() {
            Object::write(object, 7);
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
        }
        other.join().unwrap();
        let again = (cache.allocate().unwrap(), cache.allocate().unwrap());
        assert_ne!(again.0, again.1);
        assert_eq!(cache.info().unwrap().active_objects, 2);
        for object in [again.0, again.1] {
            Object::write(object, 1);
            // SAFETY: a live object.
            unsafe { cache.free(object) }.unwrap();
        }
        rejected(&cache);
    });
}

/// A thread with room for the heap, which is some KiB large.
fn large<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::Builder::new().stack_size(1 << 17).spawn(f).unwrap()
}

fn share_a_heap() {
    let (frames, window) = Frames::new();
    let heap: Arc<CpuHeap<_, _, _, _, 2>> =
        Arc::new(CpuHeap::new(Slots::new(), SpinLock::new(), frames, window));
    let layout = Layout::new::<[u64; 8]>();
    let object = heap.allocate(layout).unwrap();
    let address = object.expose_provenance();
    let other = {
        let heap = heap.clone();
        large(move || {
            // SAFETY: handed over to this thread.
            unsafe { heap.free(NonNull::with_exposed_provenance(address), layout) }.unwrap();
            heap.allocate(layout).unwrap().expose_provenance()
        })
    };
    let mine = heap.allocate(layout).unwrap();
    let theirs = other.join().unwrap();
    assert!(mine.addr().get().abs_diff(theirs.get()) >= layout.size());
    // SAFETY: a live block.
    unsafe { heap.free(mine, layout) }.unwrap();
    // SAFETY: a live block.
    unsafe { heap.free(NonNull::with_exposed_provenance(theirs), layout) }.unwrap();
    heap.shrink_all().unwrap();
    assert_eq!(heap.rejected(), Ok(0));
    heap.check_slabs().unwrap();
}

#[test]
fn two_cpus_share_a_heap() {
    check("two_cpus_share_a_heap", || large(share_a_heap).join().unwrap());
}
