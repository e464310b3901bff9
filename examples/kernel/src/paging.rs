//! Page tables, live in the MMU.
use hectare_core::AccessKind;

/// An access that the MMU refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub address: u64,
    pub kind: AccessKind,
}

/// How a program's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called the kernel, with this result.
    Call(u64),
    /// It touched what it must not, or what is not there yet.
    Fault(Fault),
}
