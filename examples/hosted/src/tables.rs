//! Page tables by themselves: the kernel's direct map, by huge pages and by small ones.
#![expect(unsafe_code, reason = "says that no CPU uses these tables")]

use core::fmt::Write;

use hectare::paging::format::X86_64;
use hectare::paging::table::{MapOptions, NotLoaded};
use hectare::paging::{Attributes, PageTable};
use hectare::{
    Access, CheckInvariants, DirectMap, FrameRun, Page, PageRun, PageSize, Permissions, Translate, VirtAddr,
};

use crate::machine::{FRAME, Frames, all_of_memory};
use crate::{Failure, check};

/// The format of the tour: x86-64 with four levels.
pub(crate) type Format = X86_64<4>;
/// Where the kernel sees all of memory.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

pub(crate) fn stage(out: &mut String, frames: &Frames<'_>, window: DirectMap) -> Result<(), Failure> {
    let memory = all_of_memory().ok_or("memory")?;
    let first = Page::new(VirtAddr::new(DIRECT_MAP).split(FRAME).0.number());
    let data = Attributes::new(Permissions::READ | Permissions::WRITE);
    // SAFETY: no CPU is pointed to these tables, which are destroyed below.
    let nobody = unsafe { NotLoaded::new() };
    for largest in [PageSize::SIZE_4K, PageSize::SIZE_2M] {
        let mut table = PageTable::<Format, _, _>::new(window, frames)?;
        table.map(first, memory, data, MapOptions::DEFAULT.with_largest(largest))?.later();
        writeln!(
            out,
            "{} MiB by pages of {} KiB: {} tables",
            megabytes(memory),
            largest.bytes() >> 10,
            table.tables()
        )?;
        if largest == PageSize::SIZE_2M {
            // The kernel's text may be executed and not written to: the huge page around it is split.
            let text = PageRun::new(first.checked_add(0x200).ok_or("a page")?, 0x80).ok_or("pages")?;
            let token = table.protect(text, Permissions::READ | Permissions::EXECUTE)?;
            table.finish(token, &nobody).map_err(|_| "its own token")?;
            writeln!(out, "with 512 KiB of text apart: {} tables", table.tables())?;
            let at = VirtAddr::new(DIRECT_MAP + 0x20_0123);
            let found = table.translate(at, Access::kernel_execute())?;
            writeln!(out, "{at} is {}", found.address)?;
            let refused = table.translate(at, Access::kernel_write()).err().ok_or("a fault was expected")?;
            writeln!(out, "{refused}")?;
            check(found.address.value() == 0x20_0123, "the direct map is the identity plus an offset")?;
        }
        table.check_invariants()?;
        table.destroy(&nobody);
    }
    Ok(())
}

fn megabytes(run: FrameRun) -> u64 {
    (run.count() << FRAME.log2()) >> 20
}
