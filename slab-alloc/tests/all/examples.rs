//! The examples of the textbook chapter on slabs: E18, E19, E20.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

use hectare_core::{CheckInvariants, NoLock, PageSize};
use hectare_slab::{ByDefault, CacheInfo, Geometry, ObjectCache, RawCache, SharedCache, SlabInfo, SlabTop};

use crate::support::{Machine, free};

fn geometry(size: usize, frames: u32) -> Geometry {
    let layout = Layout::from_size_align(size, 8).unwrap();
    Geometry::with_frames(layout, PageSize::SIZE_4K, frames).unwrap()
}

const TASK: (&str, usize, u32) = ("task_struct", 6784, 8);
const INODE: (&str, usize, u32) = ("inode_cache", 768, 4);
const DENTRY: (&str, usize, u32) = ("dentry", 192, 1);

/// E18: how many objects, what is left over.
#[test]
fn e18_objects_of_a_slab() {
    let task = geometry(TASK.1, TASK.2);
    assert_eq!((task.objects(), task.tail()), (4, 5632));
    // All but the header is room for colours, one cache line apart.
    assert_eq!(task.colours(), 1 + (5632 - if cfg!(target_pointer_width = "64") { 48 } else { 32 }) / 64);
    assert_eq!((geometry(INODE.1, INODE.2).objects(), geometry(INODE.1, INODE.2).tail()), (21, 256));
    assert_eq!((geometry(DENTRY.1, DENTRY.2).objects(), geometry(DENTRY.1, DENTRY.2).tail()), (21, 64));
    // Colours move the objects of the slabs that follow: 88 places, a cache line apart.
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let mut cache = RawCache::new(TASK.0, task, &source, window);
    let objects: Vec<_> = (0..16).map(|_| cache.allocate().unwrap().addr().get()).collect();
    let offsets: Vec<_> = objects.iter().step_by(4).map(|first| first % 0x8000).collect();
    assert_eq!(offsets, [0, 64, 128, 192]);
}

/// E18: slabs go empty → partial → full → partial → empty, and the pages go back.
#[test]
fn e18_the_life_of_a_slab() {
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    {
        let mut cache = RawCache::new(TASK.0, geometry(TASK.1, TASK.2), &source, window);
        let state = |cache: &RawCache<_, _>| {
            cache.check_invariants().unwrap();
            let info: CacheInfo = cache.info();
            (info.active_objects, info.objects, info.active_slabs, info.slabs)
        };
        cache.reserve(1).unwrap();
        assert_eq!((state(&cache), free(&source)), ((0, 4, 0, 1), 56), "empty");
        cache.reserve(0).unwrap();
        let mut objects: Vec<NonNull<u8>> = (0..3).map(|_| cache.allocate().unwrap()).collect();
        assert_eq!(state(&cache), (3, 4, 1, 1), "partial");
        objects.push(cache.allocate().unwrap());
        assert_eq!(state(&cache), (4, 4, 1, 1), "full");
        objects.push(cache.allocate().unwrap());
        assert_eq!((state(&cache), free(&source)), ((5, 8, 2, 2), 48), "a second slab");
        // The fullest that is not full is used first, although the other is fresher in memory.
        // SAFETY: a live object.
        unsafe { cache.free(objects[0]) }.unwrap();
        assert_eq!(cache.allocate(), Ok(objects[0]));
        for (freed, object) in objects.iter().enumerate() {
            // SAFETY: a live object.
            unsafe { cache.free(*object) }.unwrap();
            assert_eq!(state(&cache).0, 4 - freed);
        }
        assert_eq!((state(&cache), free(&source)), ((0, 4, 0, 1), 56), "one empty slab is kept");
        assert_eq!(
            (cache.shrink(), state(&cache), free(&source)),
            (8, (0, 0, 0, 0), 64),
            "all pages went back"
        );
    }
    assert_eq!(free(&source), 64);
    machine.check();
}

/// E19: the constructor runs once for each object and not again on reuse; the destructor once, when the slab goes.
#[test]
fn e19_constructors_run_once() {
    thread_local!(static DROPPED: Cell<u32> = const { Cell::new(0) });
    struct Inode {
        number: u32,
        used: u32,
        _padding: [u64; 95],
    }
    impl Drop for Inode {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
        }
    }
    let mut machine = Machine::new(64);
    let (source, window) = machine.start();
    let made = Cell::new(0);
    let new = || {
        made.set(made.get() + 1);
        Inode { number: made.get(), used: 0, _padding: [7; 95] }
    };
    {
        let cache: ObjectCache<Inode, _, _, _, 4> = ObjectCache::new("inode_cache", new, &source, window);
        let cache = SharedCache::new(NoLock::new(), cache);
        for round in 0..10 {
            let mut inodes: Vec<_> = (0..21).map(|_| cache.take().unwrap()).collect();
            assert_eq!(made.get(), 21, "one slab, one constructor call each");
            for (index, inode) in inodes.iter_mut().enumerate() {
                assert_eq!((inode.number as usize, inode.used), (index + 1, round));
                assert_eq!(inode._padding, [7; 95]);
                inode.used += 1;
            }
        }
        assert_eq!((made.get(), DROPPED.get()), (21, 0));
        let _inode = cache.take().unwrap();
        assert_eq!(cache.shrink(), Ok(0));
        drop(_inode);
        assert_eq!(cache.shrink(), Ok(4));
        assert_eq!((made.get(), DROPPED.get()), (21, 21));
        // A new slab is constructed as far as it is used.
        let _few = [cache.take().unwrap(), cache.take().unwrap()];
        assert_eq!(made.get(), 23);
    }
    assert_eq!((made.get(), DROPPED.get(), free(&source)), (23, 23, 64));
}

/// E20: the line of `/proc/slabinfo` 2.1. In ours num_objs is always slabs × objects per slab.
#[test]
#[cfg_attr(miri, ignore = "too many objects")]
fn e20_slabinfo_and_slabtop() {
    let mut machine = Machine::new(4096);
    let (source, window) = machine.start();
    let mut caches = [(TASK, 330), (INODE, 1000), (DENTRY, 12345)].map(|((name, size, frames), count)| {
        let mut cache = RawCache::new(name, geometry(size, frames), &source, window);
        for _ in 0..count {
            cache.allocate().unwrap();
        }
        cache
    });
    let infos = caches.each_mut().map(|cache| cache.info());
    assert_eq!(
        infos[0].to_string(),
        "task_struct          330    332   6784    4    8 : tunables    0    0    0 : slabdata     83     83      0"
    );
    assert_eq!(
        SlabInfo(&infos).to_string(),
        "slabinfo - version: 2.1\n\
         # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> \
         <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n\
         task_struct          330    332   6784    4    8 : tunables    0    0    0 : slabdata     83     83      0\n\
         inode_cache         1000   1008    768   21    4 : tunables    0    0    0 : slabdata     48     48      0\n\
         dentry             12345  12348    192   21    1 : tunables    0    0    0 : slabdata    588    588      0\n"
    );
    assert_eq!(
        SlabTop(&infos).to_string(),
        " Active / Total Objects (% used)    : 13675 / 13688 (99.9%)\n \
         Active / Total Slabs (% used)      : 719 / 719 (100.0%)\n \
         Active / Total Caches (% used)     : 3 / 3 (100.0%)\n \
         Active / Total Size (% used)       : 5250.94K / 5776.00K (90.9%)\n \
         Minimum / Average / Maximum Object : 0.19K / 0.38K / 6.62K\n\
         \n  OBJS ACTIVE  USE OBJ SIZE  SLABS OBJ/SLAB CACHE SIZE NAME\n   \
         332    330  99%    6.62K     83        4      2656K task_struct\n  \
         1008   1000  99%    0.75K     48       21       768K inode_cache\n \
         12348  12345  99%    0.19K    588       21      2352K dentry\n"
    );
    drop(caches);
}

/// A value of any type can live in a cache; the default constructor makes it.
#[test]
fn boxes_of_a_typed_cache() {
    let mut machine = Machine::new(16);
    let (source, window) = machine.start();
    let cache: ObjectCache<Vec<u8>, _, _, ByDefault> =
        ObjectCache::new("vectors", ByDefault, &source, window);
    let cache = SharedCache::new(NoLock::new(), cache);
    let mut first = cache.take().unwrap();
    first.extend([1, 2, 3]);
    let place = core::ptr::from_ref(&*first);
    drop(first);
    let again = cache.take().unwrap();
    assert_eq!((core::ptr::from_ref(&*again), again.len()), (place, 3), "constructed state is kept");
    drop(again);
    drop(cache);
    assert_eq!(free(&source), 16);
}
