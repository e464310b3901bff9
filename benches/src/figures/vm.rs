//! Address spaces: traces without a difference, what a fault costs beside its page, lazy ranges, forks, ten thousand areas,
//! and a million operations after which nothing is lost.

mod areas;
mod costs;

use hectare_paging::format::Toy;
use hectare_paging::space::HugePages;
use hectare_testkit::drive::drive;
use hectare_testkit::op::{VmOp, decode_all, noise};

use super::{Bound, Figure};
use crate::traces::Source;
use crate::vm::processes::{Choice, SPACE, model};
use crate::vm::{CHOICES, Memory, check};

pub use areas::figures as areas;
pub use costs::figures as costs;

/// Every trace with every choice of settings.
///
/// # Errors
/// A trace cannot be read.
pub fn traces(sources: &[Source]) -> Result<Vec<Figure>, String> {
    let mut memory = Memory::new(1 << 18)?;
    let mut figures = vec![];
    for source in sources {
        let trace = source.vm()?;
        let differences: usize =
            CHOICES.iter().map(|choice| check(&trace, choice, &mut memory).differences.len()).sum();
        let name = format!("vm, {}: differences from the kernel, {} settings", trace.name, CHOICES.len());
        figures.push(Figure::value(name, differences as f64, Bound::AtMost(0.0)));
    }
    Ok(figures)
}

/// Random operations of several processes with memory that runs out, against a model; afterwards everything must be back.
///
/// # Panics
/// Something was lost, leaked or done wrong: the figure is void then.
#[must_use]
pub fn million() -> Vec<Figure> {
    let (mut operations, mut refused) = (0, 0);
    let choices: [Choice; 4] = [
        (true, 16, HugePages::Always, true),
        (false, 1, HugePages::Never, false),
        (true, 4, HugePages::Advised, true),
        (false, 16, HugePages::Always, false),
    ];
    for seed in 1..=64 {
        // Every second run has less memory than its processes may use; in all of them requests are refused at random.
        let frames = if seed % 2 == 0 { 400 } else { 2400 };
        let bytes = noise(seed, 150_000);
        let ops: Vec<VmOp> = decode_all(&bytes, |bytes| VmOp::decode(bytes, SPACE as u16)).collect();
        operations += ops.len();
        let choice = choices[seed as usize % choices.len()];
        let counts = model::<Toy<3, 3, 0>, _>(frames, choice, |model| drive(model, ops, 4096));
        refused += counts.expect("nothing is lost or leaked").refused;
    }
    vec![
        Figure::value(
            "vm: operations after which nothing was lost or leaked",
            operations as f64,
            Bound::AtLeast(1e6),
        ),
        Figure::value(
            "vm: of which were refused, for want of memory or by a rule",
            refused as f64,
            Bound::Recorded,
        ),
    ]
}
