//! Runs of granules and mappings.

use super::*;

#[test]
fn runs_are_disjoint_zero_when_new_and_used_again() {
    let process = process();
    let mut random = Random(77);
    let mut blocks: Vec<Block> = Vec::new();
    let steps = if cfg!(miri) { 25 } else { 400 };
    for step in 0..steps {
        if blocks.len() < 8 && random.below(3) < 2 {
            let size = 40_000 + random.below(300_000);
            let (at, zero) = process.allocate_large(size, 1 << (4 + random.below(13))).unwrap();
            if zero {
                Block { at, size, byte: 0 }.check();
            }
            blocks.push(Block::new(at, size, step as u8));
        } else if !blocks.is_empty() {
            let block = blocks.swap_remove(random.below(blocks.len()));
            block.check();
            free_large(process, block.at);
        }
    }
    blocks.drain(..).for_each(|block| free_large(process, block.at));
    assert_eq!(process.bytes()[0], 0);
    process.with_pool(|pool| pool.tick(&process.system, &process.map, true));
    let (at, zero) = process.allocate_large(100_000, 16).unwrap();
    assert!(zero, "memory that the system took back is zero");
    Block { at, size: 100_000, byte: 0 }.check();
    free_large(process, at);
}

fn free_large(process: &Test, block: NonNull<u8>) {
    // SAFETY: a live block, given up.
    unsafe { process.free_large(block, entry(process, block)) };
}

fn entry(process: &Test, block: NonNull<u8>) -> Entry {
    // SAFETY: a block.
    Entry::of(unsafe { process.map.word(&process.system, block.as_ptr().addr()) })
}

#[test]
fn a_run_grows_into_free_neighbours_and_shrinks_in_place() {
    let process = process();
    let (at, _) = process.allocate_large(3 << 16, 16).unwrap();
    let block = Block::new(at, 3 << 16, 9);
    let resize = |size| {
        // SAFETY: live; the place does not change, or the block is as it was.
        unsafe { process.resize_large(at, entry(process, at), size) }
    };
    assert_eq!(resize(5 << 16), Some(at));
    block.check();
    let (next, _) = process.allocate_large(1 << 16, 16).unwrap();
    assert_eq!(resize(6 << 16), None, "the neighbour is taken");
    assert_eq!(resize(1 << 16), Some(at));
    assert_eq!(process.bytes()[0], 2 << 16);
    free_large(process, next);
    free_large(process, at);
    assert_eq!(process.bytes()[0], 0);
}

#[test]
fn a_mapping_moves_with_its_contents_and_is_kept_for_the_next() {
    let process = process();
    let size = 5 << 20;
    let (at, zero) = process.allocate_large(size, 16).unwrap();
    assert!(zero && process.bytes()[1] == size);
    // SAFETY: live, of that size; its ends.
    unsafe {
        at.write(1);
        at.add(size - 1).write(2);
    }
    // SAFETY: live; the old place is not used afterwards.
    let moved = unsafe { process.resize_large(at, entry(process, at), 2 * size) }.unwrap();
    // SAFETY: live, of twice the size.
    let bytes = unsafe { (moved.read(), moved.add(size - 1).read(), moved.add(2 * size - 1).read()) };
    assert_eq!(bytes, (1, 2, 0));
    assert_eq!(process.bytes()[1], 2 * size);
    free_large(process, moved);
    let mapped = process.system.mapped();
    let (again, zero) = process.allocate_large(size, 16).unwrap();
    assert!(!zero && again == moved && process.system.mapped() == mapped, "no system call");
    assert_eq!(entry(process, again), Entry::Huge(0));
    free_large(process, again);
    for _ in 0..3 {
        process.with_pool(|pool| pool.tick(&process.system, &process.map, false));
    }
    assert_eq!((process.bytes()[1], live(process)), (0, (0, 0)));
    assert!(process.system.mapped() < 1 << 20, "nothing is kept for ever");
}

#[test]
fn what_cannot_be_is_refused() {
    let process = process();
    for (size, align) in [(usize::MAX, 16), (isize::MAX as usize, 16), (usize::MAX - 65536, 1 << 20)] {
        assert!(process.allocate_large(size, align).is_none());
    }
    let (at, _) = process.allocate_large(100_000, 16).unwrap();
    // SAFETY: live, and refused.
    assert!(unsafe { process.resize_large(at, entry(process, at), usize::MAX) }.is_none());
    free_large(process, at);
    let (aligned, _) = process.allocate_large(100, 1 << 21).unwrap();
    assert_eq!(aligned.as_ptr().addr() % (1 << 21), 0);
    free_large(process, aligned);
}
