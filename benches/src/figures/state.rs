//! What the heaps' own values weigh, in bytes on this machine.

use hectare_fit::{FitHeap, HardenedHeap, SmallHeap, StrictHeap};

use super::{Bound, Figure};

/// The figures.
#[must_use]
pub fn figures() -> Vec<Figure> {
    let value = |name: &str, bytes: usize, bound| {
        Figure::value(format!("{name}: bytes of state"), bytes as f64, bound)
    };
    vec![
        value("FitHeap", size_of::<FitHeap>(), Bound::Recorded),
        value("StrictHeap", size_of::<StrictHeap>(), Bound::Recorded),
        value("HardenedHeap", size_of::<HardenedHeap>(), Bound::Recorded),
        value("SmallHeap, which is smaller on 32-bit machines", size_of::<SmallHeap>(), Bound::AtMost(300.0)),
    ]
}
