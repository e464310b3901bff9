//! A loop that makes frames free: who was used, who goes, until there are enough.
//!
//! ```text
//!   harvest ──► accessed marks of every space ──► Policy::touch, insert, remove ──► tick
//!   reclaim ──► Policy::victim ──► whose page is it? ──► AddressSpace::evict ──► frame free? ──► enough?
//!                     ▲                                                              │ no
//!                     └──────────────────────────────────────────────────────────────┘
//! ```
//! The places of the policy are frames. A frame that several spaces share since a fork has the owner that the last harvest
//! saw last; evicting it there makes the next harvest find another, until the last use is gone.
#![forbid(unsafe_code)]

use hectare_core::{Frame, Page};

use super::replacement::Policy;
use super::{AddressSpace, Kernel, SpaceError};
use crate::table::TableFormat;

/// The address spaces that pages may be taken from, by number. A kernel locks one for as long as `f` runs.
pub trait Spaces<F: TableFormat, K: Kernel> {
    /// One more than the highest number.
    fn count(&self) -> usize;

    /// Runs `f` with a space; `None` if there is none of this number.
    fn with<R>(&mut self, number: usize, f: impl FnOnce(&mut AddressSpace<F, K>) -> R) -> Option<R>;
}

impl<F: TableFormat, K: Kernel> Spaces<F, K> for [Option<AddressSpace<F, K>>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn with<R>(&mut self, number: usize, f: impl FnOnce(&mut AddressSpace<F, K>) -> R) -> Option<R> {
        self.get_mut(number)?.as_mut().map(f)
    }
}

/// Whose page lies in a frame: two words for each frame that may be evicted.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The number of the space, and above it the number of the harvest that saw the page; 0: nobody.
    stamp: u64,
    page: Page,
}

impl Owner {
    /// Nobody.
    pub const NOBODY: Self = Self { stamp: 0, page: Page::new(0) };

    fn is_known(self) -> bool {
        self.stamp != 0
    }

    #[expect(clippy::cast_possible_truncation, reason = "32 bits, and spaces are counted in a usize")]
    fn space(self) -> usize {
        self.stamp as u32 as usize
    }
}

/// What came of a request for free frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Frames that returned to their source.
    pub freed: u64,
    /// Pages that were evicted.
    pub evicted: u64,
    /// Pages that could not be.
    pub refused: u64,
}

/// Keeps a replacement policy up to date, and evicts whom it names.
///
/// # Invariants
/// * a place of the policy is taken if and only if its owner is known
#[derive(Debug)]
pub struct Reclaimer<'a, P> {
    policy: P,
    first: Frame,
    owners: &'a mut [Owner],
    round: u32,
}

impl<'a, P: Policy> Reclaimer<'a, P> {
    /// For the frames from `first` on, as many as there are owners. The policy is empty, and has as many places.
    #[must_use]
    pub fn new(policy: P, first: Frame, owners: &'a mut [Owner]) -> Self {
        owners.fill(Owner::NOBODY);
        Self { policy, first, owners, round: 0 }
    }

    /// The policy.
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    /// Tells the policy who came, who was used and who went since the last harvest, and that a period of time is over.
    ///
    /// Cost: O(pages that are mapped + frames). Each space is asked to forget what it marked
    /// ([`AddressSpace::harvest`]).
    ///
    /// # Errors
    /// The tables of a space refuse; the others are harvested nevertheless.
    pub fn harvest<F: TableFormat, K: Kernel>(
        &mut self,
        spaces: &mut (impl Spaces<F, K> + ?Sized),
    ) -> Result<(), SpaceError> {
        // 0 is nobody's.
        self.round = self.round.wrapping_add(1).max(1);
        let mut result = Ok(());
        for number in 0..spaces.count() {
            let stamp = u64::from(self.round) << 32 | number as u64 & 0xFFFF_FFFF;
            let harvested = spaces.with(number, |space| {
                space.harvest(|visit| {
                    for (page, frame) in visit.pages.iter().zip(visit.frames.iter()) {
                        self.seen(frame, Owner { stamp, page }, visit.touched.accessed);
                    }
                })
            });
            if let Some(Err(error)) = harvested {
                result = Err(error);
            }
        }
        let round = self.round;
        for (place, owner) in self.owners.iter_mut().enumerate() {
            if owner.is_known() && owner.stamp >> 32 != u64::from(round) {
                *owner = Owner::NOBODY;
                self.policy.remove(place);
            }
        }
        self.policy.tick();
        result
    }

    fn seen(&mut self, frame: Frame, by: Owner, used: bool) {
        let place = usize::try_from(frame.number().wrapping_sub(self.first.number())).unwrap_or(usize::MAX);
        let Some(owner) = self.owners.get_mut(place) else { return };
        let known = core::mem::replace(owner, by).is_known();
        if !known {
            self.policy.insert(place);
        }
        if used {
            self.policy.touch(place);
        }
    }

    /// Evicts pages that the policy names until so many frames are free, or it names no more. What it knows is from the last
    /// harvest: if that was not enough, harvest and try again.
    pub fn reclaim<F: TableFormat, K: Kernel>(
        &mut self,
        spaces: &mut (impl Spaces<F, K> + ?Sized),
        wanted: u64,
    ) -> Reclaimed {
        let mut done = Reclaimed::default();
        while done.freed < wanted {
            let Some(place) = self.policy.victim() else { break };
            self.policy.remove(place);
            let Some(owner) = self.owners.get_mut(place) else { break };
            let owner = core::mem::replace(owner, Owner::NOBODY);
            let frame = self.first.checked_add(place as u64);
            let evicted = spaces.with(owner.space(), |space| {
                // Since the harvest another page may have come there.
                let now = owner.page.start(F::PAGE).and_then(|address| space.table().find(address));
                let same = now.map(|hit| hit.address.split(F::PAGE).0) == frame;
                if same { space.evict(owner.page) } else { Err(SpaceError::Hole { page: owner.page }) }
            });
            match evicted {
                Some(Ok(freed)) => {
                    done.freed += freed;
                    done.evicted += 1;
                }
                Some(Err(_)) | None => done.refused += 1,
            }
        }
        done
    }
}
