//! Threads that come and go, and free one another's blocks.

use super::*;

const ROUNDS: usize = if cfg!(miri) { 2 } else { 30 };
const BLOCKS: usize = if cfg!(miri) { 20 } else { 2000 };

/// A block on its way to another thread.
struct Sent(Block);

// SAFETY: the block is used by whoever has the value.
unsafe impl Send for Sent {}

#[test]
fn churn_leaves_nothing_behind() {
    let process = process();
    let post: Mutex<Vec<Sent>> = Mutex::new(Vec::new());
    let threads = if cfg!(miri) { 2 } else { 4 };
    for round in 0..ROUNDS {
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (post, barrier) = (&post, &barrier);
                scope.spawn(move || {
                    let heap = process.enter().unwrap();
                    let mut random = Random((round * 31 + thread + 1) as u64 * 0x9E37_79B9);
                    barrier.wait();
                    for _ in 0..BLOCKS {
                        let size = random.below(1500) + 1;
                        let block = Block::new(allocate(process, heap, size), size, random.below(256) as u8);
                        let other = {
                            let mut post = post.lock().unwrap();
                            post.push(Sent(block));
                            let at = random.below(post.len());
                            (random.below(8) < 7).then(|| post.swap_remove(at).0)
                        };
                        if let Some(block) = other {
                            block.check();
                            free(process, heap, block.at);
                        }
                    }
                    process.leave(heap);
                });
            }
        });
    }
    let heap = process.enter().unwrap();
    for Sent(block) in post.into_inner().unwrap() {
        block.check();
        free(process, heap, block.at);
    }
    // One look at each heap: what came while its thread went is taken in by who claims it.
    process.leave(heap);
    let heaps: Vec<_> =
        core::iter::from_fn(|| process.enter()).take(if cfg!(miri) { 3 } else { 16 }).collect();
    for _ in 0..2 {
        heaps.iter().for_each(|heap| heap.flush_all(process));
    }
    assert_eq!((live(process), process.bytes()[0]), ((0, 0), 0));
    assert!(heaps.iter().all(|heap| !heap.mail.inbox.has_mail()));
}
