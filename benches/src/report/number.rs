//! Figures for people: three significant digits, units with a meaning.
#![forbid(unsafe_code)]

/// Three significant digits: `7.12`, `71.2`, `712`, `71 200`.
pub(crate) fn three(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        m if m >= 9999.5 => thousands(value),
        m if m >= 99.95 => format!("{value:.0}"),
        m if m >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Nanoseconds with a unit: `41 ns`, `6.21 µs`, `1.30 ms`.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        n if n < 999.5 => format!("{n:.0} ns"),
        n if n < 999_500.0 => format!("{} µs", three(n / 1e3)),
        n => format!("{} ms", three(n / 1e6)),
    }
}

/// Bytes with a unit, in powers of 1024: `194 KiB`, `15.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    match count as f64 {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1024.0 * 1024.0 => format!("{} KiB", three(b / 1024.0)),
        b if b < 1024.0 * 1024.0 * 1024.0 => format!("{} MiB", three(b / (1024.0 * 1024.0))),
        b => format!("{} GiB", three(b / (1024.0 * 1024.0 * 1024.0))),
    }
}

/// A whole number with thin spaces between thousands.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    if value < 0.0 { format!("−{grouped}") } else { grouped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_units() {
        assert_eq!(
            ["7.12", "71.2", "712", "10.0", "100"],
            [7.123, 71.23, 712.3, 9.996, 99.96].map(three)[..]
        );
        assert_eq!(thousands(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!([time(41.2), time(6210.0), time(1.3e6)], ["41 ns", "6.21 µs", "1.30 ms"]);
        assert_eq!([bytes(100), bytes(198_508), bytes(15_885_894)], ["100 B", "194 KiB", "15.1 MiB"]);
    }
}
