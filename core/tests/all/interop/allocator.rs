//! The `Allocator` trait in each version: the same checks by a macro, and one real collection for each.

macro_rules! version {
    ($feature:literal, $module:ident, $($path:ident)::+) => {
        #[cfg(feature = $feature)]
        mod $module {
            use $($path)::+::Allocator;
            use core::alloc::Layout;
            use core::ptr::NonNull;
            use hectare_core::{Heap, NoLock};

            use crate::arena::leaked;
            use crate::naive::Naive;

            type Tiny = Heap<NoLock, Naive<64>>;

            fn heap() -> Tiny {
                let heap = Tiny::empty();
                assert_eq!(heap.init_static(leaked(4096)), Ok(()));
                heap
            }

            fn layout(size: usize, align: usize) -> Layout {
                Layout::from_size_align(size, align).unwrap()
            }

            fn fill(block: NonNull<[u8]>) {
                for index in 0..block.len() {
                    // SAFETY: the block has `len` bytes.
                    unsafe { block.cast::<u8>().add(index).write(pattern(index)) };
                }
            }

            fn pattern(index: usize) -> u8 {
                (index * 7 + 1).to_le_bytes()[0]
            }

            fn check(block: NonNull<[u8]>, filled: usize) {
                for index in 0..filled {
                    // SAFETY: the block has at least `filled` bytes, which `fill` wrote.
                    assert_eq!(unsafe { block.cast::<u8>().add(index).read() }, pattern(index), "at {index}");
                }
            }

            #[test]
            fn a_block_is_sized_aligned_and_given_back() {
                let heap = &heap();
                let block = heap.allocate(layout(100, 64)).unwrap();
                assert_eq!((block.len(), block.cast::<u8>().addr().get() % 64), (100, 0));
                assert_eq!(heap.used(), 100);
                // SAFETY: live, with its layout.
                unsafe { heap.deallocate(block.cast(), layout(100, 64)) };
                assert_eq!((heap.used(), heap.bad_frees()), (0, 0));
            }

            #[test]
            fn zero_size_never_reaches_the_engine() {
                let empty = Tiny::empty();
                let block = (&empty).allocate(layout(0, 256)).unwrap();
                assert_eq!((block.len(), block.cast::<u8>().addr().get()), (0, 256));
                assert_eq!(empty.allocate_zeroed(layout(0, 8)).unwrap().len(), 0);
                // SAFETY: live, with its layout.
                unsafe { (&empty).deallocate(block.cast(), layout(0, 256)) };
                assert_eq!(empty.bad_frees(), 0);
                assert!((&empty).allocate(layout(1, 1)).is_err());
            }

            #[test]
            fn from_nothing_and_to_nothing() {
                let heap = heap();
                let nothing = heap.allocate(layout(0, 8)).unwrap();
                // SAFETY: live, with its layout; larger.
                let block = unsafe { heap.grow(nothing.cast(), layout(0, 8), layout(40, 8)) }.unwrap();
                assert_eq!((block.len(), heap.used()), (40, 40));
                fill(block);
                // SAFETY: live, with its layout; smaller.
                let nothing = unsafe { heap.shrink(block.cast(), layout(40, 8), layout(0, 8)) }.unwrap();
                assert_eq!((nothing.len(), heap.used(), heap.bad_frees()), (0, 0, 0));
            }

            #[test]
            fn contents_and_zeros_survive_every_move() {
                let heap = heap();
                for (old, new) in [((24, 8), (200, 8)), ((24, 8), (24, 512)), ((24, 512), (25, 1)), ((1, 1), (2, 1))] {
                    let (old, new) = (layout(old.0, old.1), layout(new.0, new.1));
                    // Dirty memory first, so that zeros are written and not found.
                    let dirt = heap.allocate(layout(3000, 1)).unwrap();
                    fill(dirt);
                    // SAFETY: live, with its layout.
                    unsafe { heap.deallocate(dirt.cast(), layout(3000, 1)) };
                    let block = heap.allocate(old).unwrap();
                    let obstacle = heap.allocate(layout(1, 1)).unwrap();
                    fill(block);
                    // SAFETY: live, with its layout; not smaller.
                    let block = unsafe { heap.grow_zeroed(block.cast(), old, new) }.unwrap();
                    assert_eq!((block.len(), block.cast::<u8>().addr().get() % new.align()), (new.size(), 0));
                    check(block, old.size());
                    for index in old.size()..new.size() {
                        // SAFETY: the block has `new.size()` bytes.
                        assert_eq!(unsafe { block.cast::<u8>().add(index).read() }, 0);
                    }
                    // SAFETY: live, with its layout; not larger.
                    let block = unsafe { heap.shrink(block.cast(), new, old) }.unwrap();
                    check(block, old.size());
                    // SAFETY: live, with its layout.
                    unsafe { heap.deallocate(block.cast(), old) };
                    // SAFETY: live, with its layout.
                    unsafe { heap.deallocate(obstacle.cast(), layout(1, 1)) };
                    assert_eq!((heap.used(), heap.bad_frees()), (0, 0));
                }
            }

            #[test]
            fn a_refused_growth_leaves_the_block() {
                let heap = heap();
                let block = heap.allocate(layout(100, 8)).unwrap();
                fill(block);
                for new in [layout(5000, 8), layout(5000, 64)] {
                    // SAFETY: live, with its layout; larger.
                    assert!(unsafe { heap.grow(block.cast(), layout(100, 8), new) }.is_err());
                }
                check(block, 100);
                assert_eq!(heap.used(), 100);
            }

            #[test]
            fn a_bad_free_is_counted() {
                let heap = heap();
                let block = heap.allocate(layout(100, 8)).unwrap();
                // SAFETY: not live any more the second time: the engine detects that and does nothing.
                (0..2).for_each(|_| unsafe { heap.deallocate(block.cast(), layout(100, 8)) });
                assert_eq!((heap.used(), heap.bad_frees()), (0, 1));
            }
        }
    };
}
version!("allocator-api2-02", version_02, allocator_api2_02::alloc);
version!("allocator-api2-04", version_04, allocator_api2_04::alloc);
version!("nightly", version_nightly, std::alloc);

#[cfg(feature = "allocator-api2-02")]
#[test]
fn hashbrown_map_lives_in_a_heap() {
    use hectare_core::{Heap, SpinLock};
    let heap: Heap<SpinLock, crate::naive::Naive<64>> = Heap::empty();
    heap.init_static(crate::arena::leaked(1 << 16)).unwrap();
    let mut map = hashbrown::HashMap::new_in(&heap);
    for key in 0_u32..500 {
        map.insert(key, key * key);
    }
    assert!((0..500).all(|key| map[&key] == key * key));
    assert!(heap.used() > 4000);
    drop(map);
    assert_eq!((heap.used(), heap.bad_frees()), (0, 0));
}

#[cfg(feature = "nightly")]
#[test]
fn std_collections_live_in_a_heap_by_reference_and_by_value() {
    use hectare_core::{Heap, NoLock};
    type Tiny = Heap<NoLock, crate::naive::Naive<64>>;
    let heap = Tiny::empty();
    heap.init_static(crate::arena::leaked(1 << 16)).unwrap();
    let mut words = Vec::new_in(&heap);
    words.extend((0..1000).map(|word| word.to_string().len()));
    let boxed = Box::new_in(7, &heap);
    assert_eq!((words.len(), *boxed), (1000, 7));
    drop((words, boxed));
    assert_eq!((heap.used(), heap.bad_frees()), (0, 0));

    let mut bytes: Vec<u8, Tiny> = Vec::new_in(heap);
    bytes.extend_from_slice(b"moved into the vector");
    let moved = bytes;
    assert_eq!(&moved[..5], b"moved");
}
