//! How it was measured, and what the figures do not say.
#![forbid(unsafe_code)]

use super::escape;
use super::machine::Machine;
use crate::heap::{Plan, Threads};

pub(super) fn method(machine: &Machine, plan: &Plan) -> String {
    let rounds = plan.rounds.phrase();
    let who = match plan.threads {
        Threads::One => "One thread, thread CPU time".to_owned(),
        Threads::Real => {
            "A thread for each recorded one; the operations of one object keep their order; arena allocators \
            behind one and the same spin lock; wall-clock time"
                .to_owned()
        }
        Threads::Many(count) => format!(
            "{count} threads, each with the whole program, arena allocators behind one and the same spin lock; wall-clock \
            time over the operations of all threads"
        ),
    };
    let load =
        machine.load.as_ref().map(|load| format!(" The load average at the end was {}.", escape(load)));
    let items = [
        ("The traces", "Every call of malloc, calloc, realloc, aligned_alloc and free of a real run, in the order in \
            which the program made them. They are decoded beforehand; size 0 counts as 1 byte, alignments below 16 as 16.".to_owned()),
        ("Time", format!("{who}, the median of {rounds} rounds in which all allocators take turns, after a \
            round that is not counted. The loop writes the first and the last byte of each block; what the loop itself costs is the \
            row empty-loop, and it is not subtracted. Without threads nobody pays for a lock: peers are called through their interface for one owner.")),
        ("Memory given", "Arena allocators get twice the peak and 16 MiB, touched beforehand, at the same addresses for all. \
            Those that do less may get more, which is then remarked. The system's malloc fetches its memory as it likes, and \
            pays for page faults in its time.".to_owned()),
        ("Latency", "From separate passes that read the time-stamp counter before and after each call, less the counter's own \
            cost. An operation's time is the least of two or three passes over equal heaps: an interrupt strikes a different operation \
            each time, the allocator's own work the same. Page faults that recur remain.".to_owned()),
        ("Slow", "An allocator that needs more than twenty times the fastest one's time on a trace is cut off in its first pass.".to_owned()),
        ("Checks", "A pass that is not timed fills every block with a pattern and checks contents, alignment, zeros and that no two \
            blocks overlap. It runs in a process of its own, as do the search for the smallest heap and the measurement of \
            resident memory: a crash costs a row. The check of an allocator that needs three times as long as the fastest so far ends there, and its \
            smallest heap is not searched.".to_owned()),
        ("Smallest heap", "Bisected to half a per cent of the peak; the arena plus the allocator's own value count. It is a border \
            between failure and success, not a proof that every larger heap suffices. Above 8 times the peak the search gives up.".to_owned()),
        ("Used", "The highest address ever handed out, from the beginning of the arena. Allocators that fill their arena from the top \
            (buddy systems, good_memory_allocator) show the whole arena here: their smallest heap tells more.".to_owned()),
        ("Fragmentation", "Seen from outside, alike for all: holes are what lies between live blocks below the highest extent so far, \
            from 64 bytes on (smaller ones are headers and roundings). What an allocator rounds up counts as hole, because from outside nobody can tell.".to_owned()),
        ("What this does not say", "A trace fixes the order of calls: a faster allocator does not change it. The \
            program's own work between the calls is missing, so caches are kinder than in life. Differences below 5 % are noise; \
            between machines, ratios move more than that.".to_owned()),
        ("The machine", format!("{}, {} processors, {}.{}", escape(&machine.processor), machine.processors, escape(&machine.system), load.unwrap_or_default())),
    ];
    let rows: String = items.iter().map(|(term, text)| format!("<dt>{term}</dt><dd>{text}</dd>")).collect();
    format!("<section id=method><h2>How it was measured</h2><dl>{rows}</dl></section>")
}
