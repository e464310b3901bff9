//! What an address space needs of the kernel around it.
#![forbid(unsafe_code)]

use hectare_core::{FrameSource, PhysWindow};

use super::index::NodeStore;
use super::{FrameRefs, Pager};
use crate::table::Tlb;

/// Everything that the address spaces of a kernel have in common.
///
/// The frame source takes single frames of a run back, the window shows all its frames, and the counts cover them.
pub trait Kernel {
    /// Where frames come from: a handle, one for each address space. `&S` is one for every shared source `S`.
    type Frames: FrameSource;
    /// How frames and tables are reached.
    type Window: PhysWindow;
    /// Where the index of areas lies.
    type Nodes: NodeStore;
    /// Who counts the users of frames.
    type Refs: FrameRefs;
    /// Where pages come from that are not zeros.
    type Pager: Pager;
    /// Who makes CPUs forget translations.
    type Tlb: Tlb;

    /// A handle of the frame source.
    fn frames(&self) -> Self::Frames;
    /// A window.
    fn window(&self) -> Self::Window;
    /// Nodes for the areas of one address space.
    fn nodes(&self) -> Self::Nodes;
    /// The counts.
    fn refs(&self) -> &Self::Refs;
    /// The pager.
    fn pager(&self) -> &Self::Pager;
    /// The translation caches of the CPUs that use the address spaces.
    fn tlb(&self) -> &Self::Tlb;
}

impl<K: Kernel + ?Sized> Kernel for &K {
    type Frames = K::Frames;
    type Window = K::Window;
    type Nodes = K::Nodes;
    type Refs = K::Refs;
    type Pager = K::Pager;
    type Tlb = K::Tlb;

    fn frames(&self) -> K::Frames {
        (**self).frames()
    }

    fn window(&self) -> K::Window {
        (**self).window()
    }

    fn nodes(&self) -> K::Nodes {
        (**self).nodes()
    }

    fn refs(&self) -> &K::Refs {
        (**self).refs()
    }

    fn pager(&self) -> &K::Pager {
        (**self).pager()
    }

    fn tlb(&self) -> &K::Tlb {
        (**self).tlb()
    }
}
