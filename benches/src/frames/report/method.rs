//! How it was measured, and what the figures do not say.
#![forbid(unsafe_code)]

use crate::frames::run::Plan;
use crate::heap::Threads;

pub(super) fn method(plan: &Plan) -> String {
    let rounds = plan.rounds.phrase();
    let who = match plan.threads {
        Threads::One => "One thread, thread CPU time".to_owned(),
        Threads::Real => {
            "A thread for each recorded CPU; the operations of one block keep their order; wall-clock time. \
            Allocators that are not made for sharing stand behind one and the same spin lock"
                .to_owned()
        }
        Threads::Many(count) => format!(
            "{count} threads, each with the whole trace in a memory {count} times as large; wall-clock time over the \
            operations of all. Allocators that are not made for sharing stand behind one and the same spin lock"
        ),
    };
    let items = [
        ("The traces", "fr-make and fr-mix are every page-frame request of a program's process tree, recorded from \
            Linux in order, with the CPU. geo and procs are made: blocks with independent lifetimes, and processes that \
            end as a whole, in a memory that is filled to 90 %, kept at 80 and in the end at 60.".to_owned()),
        ("Time", format!("{who}, the median of {rounds} rounds in which all allocators take turns, after a round that \
            is not counted. Short traces are repeated within a round, each time with a new allocator, whose building is \
            not timed. The frames are numbers: nobody writes to a block, only allocators that keep their lists in free \
            frames touch them, which were touched before.")),
        ("Memory given", "Recorded traces get twice their peak and 16 MiB. Tables come on top for all. Those allocators \
            whose alignment counts from where their tables end were placed so that frame 0 is aligned.".to_owned()),
        ("Latency", "From separate passes that read the time-stamp counter around each call, less the counter's own \
            cost; an operation's time is the least of two or three passes over equal memories.".to_owned()),
        ("Checks", "A pass in a process of its own that is not timed keeps a bit for each frame: no frame is handed out \
            twice, blocks lie at multiples of their size, a request is refused only if no aligned block of that order is \
            free, and when all is given back, all can be had again, 2 MiB at a time. Slow allocators are checked for \
            two seconds.".to_owned()),
        ("Usable as 2 MiB", "Seen from outside, alike for all: what lies in free blocks of 512 frames at multiples of \
            512. Allocators that keep freed frames aside for the next request look as good as they are.".to_owned()),
        ("Slow", "An allocator that needs more than twenty times the fastest one's time is cut off in its first pass.".to_owned()),
        ("What this does not say", "The kernel's own work between the requests is missing, so caches are kinder than in \
            life. Differences below 5 % are noise.".to_owned()),
    ];
    let rows: String = items.iter().map(|(term, text)| format!("<dt>{term}</dt><dd>{text}</dd>")).collect();
    format!("<section id=frames-method><h2>How frames were measured</h2><dl>{rows}</dl></section>")
}
