//! One case of the fuzz target `vm`, for the target and for the test that replays its corpus.

use hectare_paging::format::{AArch64, Sv39, Toy, X86_64};
use hectare_paging::space::HugePages;
use hectare_testkit::fuzz::{kind, vm};

use super::processes::{SPACE, model};

/// Drives processes with the bytes as operations. The last byte chooses the format, whether memory is scarce, and how
/// faults are handled.
pub fn case(bytes: &[u8]) {
    let choice = kind(bytes, 256);
    let huge = [HugePages::Never, HugePages::Advised, HugePages::Always, HugePages::Always][choice >> 2 & 3];
    let around = [1, 4, 16, 4][choice >> 4 & 3];
    let settings = (choice & 64 != 0, around, huge, choice & 128 != 0);
    let (pages, frames) = (SPACE as u16, if choice & 192 == 64 { 400 } else { 2400 });
    match choice & 3 {
        0 => model::<Toy<3, 3, 0>, _>(frames, settings, |model| vm(model, pages, bytes)),
        1 => model::<X86_64<4>, _>(frames, settings, |model| vm(model, pages, bytes)),
        2 => model::<AArch64<12>, _>(frames, settings, |model| vm(model, pages, bytes)),
        _ => model::<Sv39, _>(frames, settings, |model| vm(model, pages, bytes)),
    }
}
