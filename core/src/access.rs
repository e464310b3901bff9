//! What a program wants to do with memory, and what a mapping lets it do.
#![forbid(unsafe_code)]

use core::fmt;

bitflags::bitflags! {
    /// What a mapping, a segment or a protection region permits, independent of any hardware format.
    ///
    /// [`Permissions::USER`] opens the rights to unprivileged code; without it only the kernel has them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Permissions: u8 {
        /// Data may be read.
        const READ = 1;
        /// Data may be written.
        const WRITE = 2;
        /// Instructions may be fetched.
        const EXECUTE = 4;
        /// Unprivileged code has these rights too.
        const USER = 8;
    }
}

impl Permissions {
    /// Whether `access` is permitted. O(1).
    ///
    /// ```
    /// use hectare_core::{Access, Permissions};
    /// let text = Permissions::READ | Permissions::EXECUTE | Permissions::USER;
    /// assert!(text.allow(Access::user_execute()));
    /// assert!(!text.allow(Access::user_write()));
    /// ```
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        let right = match access.kind {
            AccessKind::Read => Self::READ,
            AccessKind::Write => Self::WRITE,
            AccessKind::Execute => Self::EXECUTE,
        };
        self.contains(right) && (matches!(access.privilege, Privilege::Kernel) || self.contains(Self::USER))
    }
}

impl fmt::Display for Permissions {
    /// As in `/proc/PID/maps`, without the sharing letter: `r-x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (right, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::EXECUTE, "x")] {
            f.write_str(if self.contains(right) { letter } else { "-" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", if self.contains(Self::USER) { "u" } else { "" })
    }
}

/// The kind of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Who makes an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Privilege {
    /// The operating system.
    Kernel,
    /// A program.
    User,
}

/// One attempted access: its kind and who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    /// Load, store or fetch.
    pub kind: AccessKind,
    /// Kernel or program.
    pub privilege: Privilege,
}

macro_rules! constructors {
    ($($name:ident $kind:ident $privilege:ident $doc:literal),* $(,)?) => {
        impl Access {$(
            #[doc = $doc]
            #[must_use]
            pub const fn $name() -> Self {
                Self { kind: AccessKind::$kind, privilege: Privilege::$privilege }
            }
        )*}
    };
}
constructors! {
    kernel_read Read Kernel "A load by the kernel.",
    kernel_write Write Kernel "A store by the kernel.",
    kernel_execute Execute Kernel "A fetch by the kernel.",
    user_read Read User "A load by a program.",
    user_write Write User "A store by a program.",
    user_execute Execute User "A fetch by a program.",
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.privilege == Privilege::User { "user" } else { "kernel" };
        let what = match self.kind {
            AccessKind::Read => "read",
            AccessKind::Write => "write",
            AccessKind::Execute => "execute",
        };
        write!(f, "{who} {what}")
    }
}
