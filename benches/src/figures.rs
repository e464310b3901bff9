//! The figures that this project claims or aims at, each with its bound, met or missed.
//!
//! | area | module |
//! |---|---|
//! | ranges | [`ranges`]: times, exactness, plans, smallest spaces |
//! | heap | [`random`] actions, recorded [`programs`], [`efficiency`], [`worst`] cases, [`state`] sizes |
//! | frames | [`frames`] |
//! | objects | [`objects`] |
//! | segments | [`segments`] |
//! | hosted | [`hosted`] |
//! | vm | [`vm`]: traces, faults, forks, areas |
//! | tables | [`tables`]: page tables beside their loops and peers |

pub mod efficiency;
pub mod frames;
pub mod hosted;
pub mod objects;
pub mod programs;
pub mod random;
pub mod ranges;
pub mod segments;
pub mod state;
pub mod tables;
pub mod vm;
pub mod worst;

use std::io::Write;

use serde::Serialize;

/// A bound and which side of it is good.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The ratio (or, without a peer, the value) must be at least this. Times count as met up to 5 % below, which is
    /// the noise of a shared machine.
    AtLeast(f64),
    /// It must be at most this.
    AtMost(f64),
    /// Nothing is claimed: the value is for the record.
    Recorded,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// Our value.
    pub ours: f64,
    /// The best peer's, if there is one to compare with.
    pub peer: Option<f64>,
    /// How good ours is beside it: above 1 is better; without a peer, our value.
    pub ratio: f64,
    /// What it should be.
    pub bound: Bound,
    /// Whether a clock took part, so that noise is allowed for.
    pub timed: bool,
}

impl Figure {
    /// Times, lower is better: the ratio is the peer's over ours.
    #[must_use]
    pub fn time(figure: impl Into<String>, ours: f64, peer: f64, bound: Bound) -> Self {
        Self { figure: figure.into(), ours, peer: Some(peer), ratio: peer / ours, bound, timed: true }
    }

    /// A value by itself, exact.
    #[must_use]
    pub fn value(figure: impl Into<String>, ours: f64, bound: Bound) -> Self {
        Self { figure: figure.into(), ours, peer: None, ratio: ours, bound, timed: false }
    }

    /// A value beside a peer's, lower is better: the ratio is ours over the peer's, so that a bound reads as it is said.
    #[must_use]
    pub fn beside(figure: impl Into<String>, ours: f64, peer: f64, bound: Bound) -> Self {
        Self { figure: figure.into(), ours, peer: Some(peer), ratio: ours / peer, bound, timed: false }
    }

    /// Whether the bound is met; `None` if there is none. A time that is to be as good as the peer's may be 5 % worse, which
    /// is less than two runs differ by. Other bounds are as they stand.
    #[must_use]
    pub fn ok(&self) -> Option<bool> {
        let slack = |bound: f64| if self.timed && bound == 1.0 { 1.05 } else { 1.0 };
        match self.bound {
            Bound::AtLeast(least) => Some(self.ratio * slack(least) >= least),
            Bound::AtMost(most) => Some(self.ratio <= most * slack(most)),
            Bound::Recorded => None,
        }
    }

    /// Prints the figure as a line of a table.
    pub fn print(&self) {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::Recorded => String::new(),
        };
        let ok = match self.ok() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        let peer = self.peer.map_or(String::new(), |peer| format!("{peer:.3}"));
        println!("{:<66} {:>10.3} {peer:>10} {:>8.3} {bound:>8} {ok}", self.figure, self.ours, self.ratio);
    }
}

/// Prints the head of the table.
pub fn print_head() {
    println!("{:<66} {:>10} {:>10} {:>8} {:>8} ok", "figure", "ours", "peer", "ratio", "bound");
}

/// Writes the figures, one JSON object a line.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(figures: &[Figure], path: &std::path::Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for figure in figures {
        serde_json::to_writer(
            &mut file,
            &serde_json::json!({
                "figure": figure.figure, "ours": figure.ours, "peer": figure.peer, "ratio": figure.ratio,
                "bound": figure.bound, "ok": figure.ok(),
            }),
        )?;
        writeln!(file)?;
    }
    Ok(())
}

/// A small generator of numbers, the same on every machine (xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed that is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number in `[low, high)`, which is not empty.
    pub fn range(&mut self, low: usize, high: usize) -> usize {
        low + (((self.bits() >> 32) * (high - low) as u64) >> 32) as usize
    }

    /// A size as the random-actions workload draws it: up to a cap that is itself drawn from 16 to `max`.
    pub fn size(&mut self, max: usize) -> usize {
        let cap = self.range(16, max).max(5);
        self.range(4, cap)
    }

    /// An alignment: 8 in three of four cases, 16 in most others, larger ones rarely.
    pub fn align(&mut self) -> usize {
        8 << (((self.bits() >> 20) as u16).trailing_zeros() / 2)
    }
}
