//! Where and when it was measured.
#![forbid(unsafe_code)]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the day.
#[derive(Debug)]
pub struct Machine {
    /// The processor, as the system names it.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Operating system and architecture.
    pub system: String,
    /// The load average over the last minute, if the system tells.
    pub load: Option<String>,
    /// The day, as 2026-11-22.
    pub date: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split(':').nth(1));
        let kernel = read("/proc/sys/kernel/osrelease");
        let system = format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            processor: model.map_or_else(|| "unknown processor".to_owned(), |model| model.trim().to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            system,
            load: read("/proc/loadavg").split(' ').next().filter(|load| !load.is_empty()).map(str::to_owned),
            date: date(seconds / 86_400),
        }
    }
}

/// The Gregorian date of a day counted from 1970-01-01.
fn date(day: u64) -> String {
    // Count from 0000-03-01, so that the leap day is the last of its year; 146 097 days are 400 years.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{of_month:02}", era * 400 + year + carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let known = [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ];
        for (day, text) in known {
            assert_eq!(date(day), text);
        }
    }
}
