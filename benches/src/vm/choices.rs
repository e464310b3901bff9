//! What is compared: one address space with different settings.
#![forbid(unsafe_code)]

use hectare_paging::space::HugePages;

/// Settings of an address space.
#[derive(Debug)]
pub struct Choice {
    /// The name on the command line and in every result.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// Pages that a read fault looks at.
    pub fault_around: u64,
    /// Whether reads of untouched memory get one frame of zeros.
    pub zero_frame: bool,
    /// When huge pages are used.
    pub huge: HugePages,
    /// Whether a background thread makes huge pages of small ones, wherever it may.
    pub promote: bool,
}

/// All of them.
pub static CHOICES: &[Choice] = &[
    Choice {
        name: "hectare-paging",
        about: "Linux's settings: 16 pages around a read fault, one frame of zeros for reads, huge pages if advised",
        fault_around: 16,
        zero_frame: true,
        huge: HugePages::Advised,
        promote: false,
    },
    Choice {
        name: "hectare-paging/alone",
        about: "only the page that faults",
        fault_around: 1,
        zero_frame: true,
        huge: HugePages::Advised,
        promote: false,
    },
    Choice {
        name: "hectare-paging/wide",
        about: "64 pages around a read fault",
        fault_around: 64,
        zero_frame: true,
        huge: HugePages::Advised,
        promote: false,
    },
    Choice {
        name: "hectare-paging/no-zero-frame",
        about: "each page of zeros has a frame of its own",
        fault_around: 16,
        zero_frame: false,
        huge: HugePages::Advised,
        promote: false,
    },
    Choice {
        name: "hectare-paging/huge",
        about: "huge pages wherever an area has room",
        fault_around: 16,
        zero_frame: true,
        huge: HugePages::Always,
        promote: false,
    },
    Choice {
        name: "hectare-paging/promote",
        about: "small pages at first touch; every 64 records a background thread looks at 4 groups of 512 pages, and makes \
                huge pages of those that are all there",
        fault_around: 16,
        zero_frame: true,
        huge: HugePages::Never,
        promote: true,
    },
];

/// Those of these names, in their order; all if there are none.
///
/// # Errors
/// The first name that nobody bears.
pub fn select(names: &[String]) -> Result<Vec<&'static Choice>, String> {
    if names.is_empty() {
        return Ok(CHOICES.iter().collect());
    }
    let find = |name: &String| CHOICES.iter().find(|choice| choice.name == name).ok_or_else(|| name.clone());
    names.iter().map(find).collect()
}
