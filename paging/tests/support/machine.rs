//! A kernel for tests and measurements: frames, counts, a page cache with a swap area, a translation unit that walks the
//! tables by itself.

use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;
use std::collections::HashMap;
use std::rc::Rc;

use hectare_core::{
    Access, AccessKind, AllocError, Frame, FrameRequest, FrameRun, FrameSource, FreeError, Locked, NoLock,
    Order, PageSize, PhysAddr, PhysWindow, SharedFrameSource, VirtAddr,
};
use hectare_paging::format::SetBy;
use hectare_paging::space::index::{Node, NodeStore};
use hectare_paging::space::{
    AddressSpace, FrameRefs, Handled, Kernel, ObjectId, Pager, PagerError, RefTable, SpaceFault, SwapSlot,
};
use hectare_paging::table::{Invalidation, TableFormat, Tlb};
use hectare_paging::{AtomicEntry, Decoded, LiveEntry, Touched};

/// Frames with a bound on how many more may be taken.
#[derive(Debug)]
pub struct Rationed<S> {
    inner: S,
    /// Requests still granted; `None`: all.
    granted: Option<u64>,
    /// Frames that are taken.
    pub used: u64,
    /// The most that were.
    pub peak: u64,
}

// SAFETY: every run is the inner source's.
unsafe impl<S: FrameSource> FrameSource for Rationed<S> {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        if let Some(granted) = &mut self.granted {
            *granted = granted.checked_sub(1).ok_or(AllocError::OutOfMemory)?;
        }
        let run = self.inner.allocate_frames(request)?;
        self.used += run.count();
        self.peak = self.peak.max(self.used);
        Ok(run)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner.free_frames(run) }.expect("a good free");
        self.used -= run.count();
        Ok(())
    }
}

/// Nodes in a vector that may be forbidden to grow.
#[derive(Debug)]
pub struct VecNodes {
    nodes: Vec<Node>,
    may_grow: Rc<Cell<bool>>,
}

impl NodeStore for VecNodes {
    fn capacity(&self) -> u32 {
        self.nodes.len() as u32
    }

    fn grow(&mut self, count: u32) -> Result<(), AllocError> {
        if count > self.capacity() {
            if !self.may_grow.get() {
                return Err(AllocError::OutOfMemory);
            }
            self.nodes.resize(count as usize, Node::EMPTY);
        }
        Ok(())
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }

    fn node_mut(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }
}

/// Counts what it is asked for. The tests' CPUs cache nothing.
#[derive(Debug, Default)]
pub struct CountingTlb {
    /// Invalidations.
    pub calls: Cell<u64>,
}

// SAFETY: nobody caches anything.
unsafe impl Tlb for CountingTlb {
    fn invalidate(&self, _what: &Invalidation<'_>) {
        self.calls.set(self.calls.get() + 1);
    }
}

/// What objects and slots hold.
#[derive(Debug)]
pub struct Cache {
    /// The frames of objects' pages.
    pages: RefCell<HashMap<(u64, u64), Frame>>,
    /// Runs of pages of an object come together, so that their frames are consecutive.
    pub cluster: Cell<u64>,
    /// Pages of every object; there is nothing behind.
    pub length: Cell<u64>,
    /// What a page of an object holds at first.
    pub fill: fn(u64, u64, &mut [u8]),
    /// Users and contents of slots.
    slots: RefCell<HashMap<u64, (u32, Vec<u8>)>>,
    next_slot: Cell<u64>,
    /// Pages reported as dirty.
    pub dirty: Cell<u64>,
}

/// Everything that address spaces share.
pub struct Machine<S, W> {
    /// Where frames come from.
    pub frames: Locked<NoLock, Rationed<S>>,
    /// Their memory.
    pub window: W,
    counts: Vec<AtomicU32>,
    first: Frame,
    /// Objects and slots.
    pub cache: Cache,
    /// The CPUs.
    pub tlb: CountingTlb,
    may_grow: Rc<Cell<bool>>,
}

impl<S, W> core::fmt::Debug for Machine<S, W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Machine")
    }
}

impl<S: FrameSource, W: PhysWindow> Machine<S, W> {
    /// A machine with these frames.
    pub fn new(source: S, window: W, all: FrameRun) -> Self {
        let counts: Vec<AtomicU32> = (0..all.count()).map(|_| AtomicU32::new(0)).collect();
        Self {
            frames: Locked::new(Rationed { inner: source, granted: None, used: 0, peak: 0 }),
            window,
            counts,
            first: all.first(),
            cache: Cache {
                pages: RefCell::default(),
                cluster: Cell::new(1),
                length: Cell::new(u64::MAX),
                fill: |_, _, _| {},
                slots: RefCell::default(),
                next_slot: Cell::new(1),
                dirty: Cell::new(0),
            },
            tlb: CountingTlb::default(),
            may_grow: Rc::new(Cell::new(true)),
        }
    }

    /// The counts.
    pub fn table(&self) -> RefTable<'_> {
        RefTable::new(self.first, &self.counts)
    }

    /// Grants so many requests from now on, of frames and of nodes; `None`: all.
    pub fn ration(&self, granted: Option<u64>) {
        self.frames.with(|frames| frames.granted = granted).expect("not entered");
        self.may_grow.set(granted.is_none_or(|granted| granted % 3 != 0));
    }

    /// Frames that are taken, and the most that were.
    pub fn used(&self) -> (u64, u64) {
        self.frames.with(|frames| (frames.used, frames.peak)).expect("not entered")
    }

    /// Takes a frame of zeros that is counted by nobody.
    pub fn zero_frame(&self) -> Frame {
        let run = self.frames.allocate_frames(FrameRequest::order(Order::ZERO)).expect("a frame");
        self.bytes(run.first(), |bytes| bytes.fill(0));
        run.first()
    }

    /// The bytes of a frame.
    pub fn bytes<R>(&self, frame: Frame, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let size = S::FRAME_SIZE;
        let pointer = frame.start(size).and_then(|start| self.window.pointer(start, size.bytes()));
        let pointer = pointer.expect("the window shows every frame");
        // SAFETY: (1) the window's promise; (2) one thread runs all of this, and no other reference to a frame lives.
        f(unsafe { core::slice::from_raw_parts_mut(pointer.as_ptr(), size.bytes() as usize) })
    }

    /// Gives the pages of all objects up.
    pub fn drop_cache(&self) {
        let pages = core::mem::take(&mut *self.cache.pages.borrow_mut());
        for frame in pages.into_values() {
            if self.table().release(frame) {
                let run = FrameRun::new(frame, 1).expect("a run");
                // SAFETY: the cache was the last user.
                unsafe { self.frames.free_frames(run) }.expect("a good free");
            }
        }
    }

    /// Users of slots.
    pub fn slots(&self) -> usize {
        self.cache.slots.borrow().len()
    }

    /// The sum of all counts.
    pub fn users(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.load(core::sync::atomic::Ordering::Relaxed))).sum()
    }

    /// Reads a page of an object, with the others of its cluster.
    fn read(&self, id: u64, page: u64) -> Result<Frame, PagerError> {
        if page >= self.cache.length.get() {
            return Err(PagerError::Beyond);
        }
        if let Some(frame) = self.cache.pages.borrow().get(&(id, page)) {
            return Ok(*frame);
        }
        let cluster = self.cache.cluster.get();
        let (first, count) = (page & !(cluster - 1), cluster);
        let mut pages = self.cache.pages.borrow_mut();
        let alone = (first..first + count).any(|page| pages.contains_key(&(id, page)));
        let (first, count) = if alone { (page, 1) } else { (first, count) };
        let request = FrameRequest::order(Order::holding(count).expect("an order"));
        let run = self.frames.allocate_frames(request).map_err(|_| PagerError::NoRoom)?;
        self.table().adopt(run);
        for (page, frame) in (first..).zip(run.iter()) {
            self.bytes(frame, |bytes| (self.cache.fill)(id, page, bytes));
            pages.insert((id, page), frame);
        }
        Ok(pages[&(id, page)])
    }
}

// SAFETY: (1) frames of the same source and window; (2) `join` counts the caller; (3) the cache keeps its own use, which
// `adopt` counted; (4) nothing is evicted; (5) the slot's bytes are copied to the frame at once.
unsafe impl<S: FrameSource, W: PhysWindow> Pager for Machine<S, W> {
    fn page(&self, id: ObjectId, page: u64, _write: bool) -> Result<Frame, PagerError> {
        let frame = self.read(id.0.get(), page)?;
        let run = FrameRun::new(frame, 1).expect("a run");
        self.table().join(run).map_err(|_| PagerError::NoRoom)?;
        Ok(frame)
    }

    fn resident(&self, id: ObjectId, page: u64, count: u64, each: &mut dyn FnMut(u64, FrameRun)) {
        let pages = self.cache.pages.borrow();
        let mut at = page;
        while at < page + count {
            let Some(first) = pages.get(&(id.0.get(), at)) else {
                at += 1;
                continue;
            };
            let follows = |more: &u64| {
                pages
                    .get(&(id.0.get(), at + more))
                    .is_some_and(|frame| frame.number() == first.number() + more)
            };
            let length = 1 + (1..page + count - at).take_while(follows).count() as u64;
            each(at, FrameRun::new(*first, length).expect("a run"));
            at += length;
        }
    }

    fn holds(&self, id: ObjectId, page: u64, frame: Frame) -> bool {
        self.cache.pages.borrow().get(&(id.0.get(), page)) == Some(&frame)
    }

    fn dirty(&self, _id: ObjectId, _page: u64, count: u64) {
        self.cache.dirty.set(self.cache.dirty.get() + count);
    }

    fn swap_out(&self, frame: Frame) -> Result<SwapSlot, PagerError> {
        let slot = self.cache.next_slot.replace(self.cache.next_slot.get() + 1);
        let contents = self.bytes(frame, |bytes| bytes.to_vec());
        self.cache.slots.borrow_mut().insert(slot, (1, contents));
        SwapSlot::new(slot).ok_or(PagerError::NoRoom)
    }

    fn swap_in(&self, slot: SwapSlot, frame: Frame) -> Result<(), PagerError> {
        let slots = self.cache.slots.borrow();
        let (_, contents) = slots.get(&slot.0.get()).ok_or(PagerError::Failed)?;
        self.bytes(frame, |bytes| bytes.copy_from_slice(contents));
        Ok(())
    }

    fn share_slot(&self, slot: SwapSlot) -> Result<(), PagerError> {
        self.cache.slots.borrow_mut().get_mut(&slot.0.get()).ok_or(PagerError::Failed)?.0 += 1;
        Ok(())
    }

    fn release_slot(&self, slot: SwapSlot) {
        let mut slots = self.cache.slots.borrow_mut();
        let users = &mut slots.get_mut(&slot.0.get()).expect("a slot that is released is in use").0;
        *users -= 1;
        if *users == 0 {
            slots.remove(&slot.0.get());
        }
    }
}

/// A machine as the kernel of its address spaces.
#[derive(Debug)]
pub struct Handle<'m, S, W>(pub &'m Machine<S, W>, pub RefTable<'m>);

impl<S, W> Clone for Handle<'_, S, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, W> Copy for Handle<'_, S, W> {}

impl<'m, S: FrameSource, W: PhysWindow> Kernel for Handle<'m, S, W> {
    type Frames = &'m Locked<NoLock, Rationed<S>>;
    type Window = &'m W;
    type Nodes = VecNodes;
    type Refs = RefTable<'m>;
    type Pager = Machine<S, W>;
    type Tlb = CountingTlb;

    fn frames(&self) -> Self::Frames {
        &self.0.frames
    }

    fn window(&self) -> &'m W {
        &self.0.window
    }

    fn nodes(&self) -> VecNodes {
        VecNodes { nodes: vec![], may_grow: Rc::clone(&self.0.may_grow) }
    }

    fn refs(&self) -> &RefTable<'m> {
        &self.1
    }

    fn pager(&self) -> &Machine<S, W> {
        self.0
    }

    fn tlb(&self) -> &CountingTlb {
        &self.0.tlb
    }
}

impl<S: FrameSource, W: PhysWindow> Machine<S, W> {
    /// What an address space is made with.
    pub fn kernel(&self) -> Handle<'_, S, W> {
        Handle(self, self.table())
    }
}

/// Walks the tables as the hardware does, and sets the marks. The physical address, or nothing where it would fault.
pub fn walk<F: TableFormat>(
    window: &impl PhysWindow,
    root: PhysAddr,
    address: VirtAddr,
    access: Access,
) -> Option<PhysAddr> {
    type Atomic<F> = <<F as hectare_paging::Format>::Entry as LiveEntry>::Atomic;
    let mut table = root;
    for level in (0..F::LEVELS).rev() {
        let index = F::index(address, level);
        let pointer = window.pointer(table, F::table_bytes(level))?.cast::<Atomic<F>>();
        // SAFETY: the index is inside the table, which the window shows.
        let place = unsafe { pointer.add(index) };
        // SAFETY: an entry of a live table is an atomic for everyone.
        let cell = unsafe { place.as_ref() };
        let entry = cell.load(core::sync::atomic::Ordering::Relaxed);
        match F::decode(entry, level, index) {
            Decoded::Table { address } => table = address,
            Decoded::Leaf { address: start, attributes, touched, .. } => {
                if !attributes.permissions.allow(access) {
                    return None;
                }
                let dirty = access.kind == AccessKind::Write;
                // Hardware that sets no marks faults instead.
                let accessed = F::ACCESSED == SetBy::Fault && !touched.accessed;
                if accessed || F::DIRTY == SetBy::Fault && dirty && !touched.dirty {
                    return None;
                }
                let marks = touched.or(Touched { accessed: true, dirty });
                cell.store(F::with_touched(entry, marks, level), core::sync::atomic::Ordering::Relaxed);
                let offset = address.value() & F::leaf_size(level).offset_mask();
                return Some(PhysAddr::new(start.value() + offset));
            }
            Decoded::Absent { .. } | Decoded::Reserved => return None,
        }
    }
    None
}

/// An access of a program: what faults is handled, and tried again. The physical address, and how many faults it took.
pub fn access<F: TableFormat, K: Kernel>(
    space: &mut AddressSpace<F, K>,
    address: VirtAddr,
    access: Access,
) -> Result<(PhysAddr, u32), SpaceFault> {
    for faults in 0.. {
        let root = space.table().root();
        if let Some(place) = walk::<F>(space.table().window(), root, address, access) {
            return Ok((place, faults));
        }
        assert!(faults < 3, "{access} at {address} faults for ever");
        let handled = space.handle_fault(address, access)?;
        assert_ne!(handled, Handled::Pending, "the cache reads at once");
        let marks = F::ACCESSED == SetBy::Fault || F::DIRTY == SetBy::Fault;
        assert!(handled != Handled::Spurious || faults > 0 || marks, "a fault for nothing");
    }
    unreachable!()
}
