//! What tokens owe, paid with this CPU's instructions.
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use hectare_core::PageSize;
use hectare_paging::Tlb;
use hectare_paging::table::Invalidation;

use crate::arch;

/// More pages than this are dropped with all others.
const SINGLE: u64 = 33;

/// This CPU, the only one.
#[derive(Clone, Copy, Debug)]
pub struct Here;

/// How often one page was dropped, all were, and a root was loaded again.
pub static PAID: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

/// A large leaf was dropped by one of its addresses. QEMU (7.2) then forgets the translation of all of it, but not the code
/// that it made of its other pages, and goes on executing it.
pub static STALE_CODE: AtomicBool = AtomicBool::new(false);

fn count(what: usize) {
    PAID[what].store(PAID[what].load(Relaxed).wrapping_add(1), Relaxed);
}

// SAFETY: when it returns this CPU has executed its instructions for what was named.
unsafe impl Tlb for Here {
    fn invalidate(&self, what: &Invalidation<'_>) {
        if cfg!(hectare_plant = "live_no_flush") {
            return;
        }
        arch::begin_flush();
        if what.reload && cfg!(not(hectare_plant = "live_no_reload")) {
            arch::reload();
            count(2);
        }
        let pages = what.pages().filter(|pages| *pages <= SINGLE);
        // A page drops the upper levels of all addresses on x86 alone.
        if pages.is_some_and(|pages| !what.tables || arch::PAGE_DROPS_TABLES && pages != 0) {
            for span in what.spans {
                if span.stride().log2() > PageSize::SIZE_64K.log2() {
                    STALE_CODE.store(true, Relaxed);
                }
                for nth in 0..span.count() {
                    arch::drop_page(span.first().value() + (nth << span.stride().log2()));
                    count(0);
                }
            }
        } else {
            arch::drop_all(what.global);
            STALE_CODE.store(false, Relaxed);
            count(1);
        }
        arch::end_flush();
    }
}
