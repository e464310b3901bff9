//! Two clocks: the CPU time of this thread for totals, a tick counter for single operations.

use std::time::{Duration, Instant};

/// The CPU time that this thread has used, in nanoseconds. What other processes do meanwhile does not count.
///
/// # Panics
/// If the system has no such clock (every Unix of the last twenty years has one).
#[must_use]
pub fn thread_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    assert_eq!(result, 0, "no clock for thread CPU time");
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The counter before an operation: nothing of the operation can begin before it is read.
#[inline(always)]
#[must_use]
pub fn begin() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 has SSE2.
        unsafe { core::arch::x86_64::_mm_lfence() };
        // SAFETY: every x86-64 has the time-stamp counter, and Linux lets programs read it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_ns()
}

/// The counter after an operation: everything before has finished when it is read.
#[inline(always)]
#[must_use]
pub fn end() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut processor = 0;
        // SAFETY: every x86-64 that runs today's Linux has `rdtscp`; `processor` is a valid place for its result.
        let now = unsafe { core::arch::x86_64::__rdtscp(&raw mut processor) };
        // SAFETY: every x86-64 has SSE2.
        unsafe { core::arch::x86_64::_mm_lfence() };
        now
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_ns()
}

#[cfg(not(target_arch = "x86_64"))]
fn monotonic_ns() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// How counter differences become nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Nanoseconds in one tick.
    pub ns_per_tick: f64,
    /// What an empty measurement shows, in ticks; it is subtracted.
    pub cost: u64,
}

impl Scale {
    /// Measures the counter against the system's clock for 20 ms, and its own cost.
    #[must_use]
    pub fn calibrate() -> Self {
        let mut empty: Vec<u64> =
            (0..10_001).map(|_| (begin(), end())).map(|(a, b)| b.saturating_sub(a)).collect();
        empty.sort_unstable();
        let (start, first) = (Instant::now(), begin());
        while start.elapsed() < Duration::from_millis(20) {}
        let (last, wall) = (end(), start.elapsed());
        Self {
            ns_per_tick: wall.as_nanos() as f64 / last.saturating_sub(first).max(1) as f64,
            cost: empty[empty.len() / 2],
        }
    }

    /// A difference of two counters, without the counter's own cost, in nanoseconds.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> f64 {
        ticks.saturating_sub(self.cost) as f64 * self.ns_per_tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_with_work_and_only_with_work() {
        let (cpu, scale) = (thread_ns(), Scale::calibrate());
        let patience = Instant::now();
        while thread_ns() - cpu < 5_000_000 {
            assert!(patience.elapsed() < Duration::from_secs(20), "spinning is work");
        }
        let idle = thread_ns();
        std::thread::sleep(Duration::from_millis(30));
        assert!(thread_ns() - idle < 15_000_000, "sleeping is not work");
        assert!(scale.ns_per_tick > 0.05 && scale.ns_per_tick < 50.0);
        let (first, wall) = (begin(), Instant::now());
        std::thread::sleep(Duration::from_millis(5));
        let (ns, wall) = (scale.ns(end() - first), wall.elapsed().as_nanos() as f64);
        assert!((ns / wall - 1.0).abs() < 0.2, "{ns} ns counted, {wall} ns passed");
    }
}
