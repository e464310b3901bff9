//! What a cache has, printed as Linux prints it: `/proc/slabinfo` and `slabtop`.
//!
//! Formats: `mm/slab_common.c` (`print_slabinfo_header`, `cache_show`) of Linux 6, and slabtop of procps-ng 4.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::Ratio;

use crate::geometry::Geometry;
use crate::slabs::Slabs;

/// The figures of one cache. Prints as its line of `/proc/slabinfo` 2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheInfo {
    /// The cache's name.
    pub name: &'static str,
    /// Objects handed out.
    pub active_objects: usize,
    /// Objects that the slabs hold: always `slabs · objects_per_slab`.
    pub objects: usize,
    /// Bytes that an object takes: its size, rounded up to its alignment.
    pub object_size: usize,
    /// Objects in a slab.
    pub objects_per_slab: usize,
    /// Frames in a slab.
    pub frames_per_slab: u32,
    /// Slabs with an object that is handed out.
    pub active_slabs: usize,
    /// All slabs.
    pub slabs: usize,
    /// Bytes of a slab.
    pub slab_bytes: usize,
}

impl CacheInfo {
    pub(crate) fn of(name: &'static str, geometry: &Geometry, slabs: &Slabs) -> Self {
        Self {
            name,
            active_objects: slabs.taken(),
            objects: slabs.slabs() * geometry.objects(),
            object_size: geometry.stride(),
            objects_per_slab: geometry.objects(),
            frames_per_slab: geometry.frames(),
            active_slabs: slabs.slabs() - slabs.empty(),
            slabs: slabs.slabs(),
            slab_bytes: geometry.slab_bytes(),
        }
    }

    /// Bytes of all slabs.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slabs * self.slab_bytes
    }
}

impl fmt::Display for CacheInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} : slabdata {:>6} {:>6} {:>6}",
            self.name,
            self.active_objects,
            self.objects,
            self.object_size,
            self.objects_per_slab,
            self.frames_per_slab,
            0,
            0,
            0,
            self.active_slabs,
            self.slabs,
            0
        )
    }
}

/// Several caches as `/proc/slabinfo`, header included.
///
/// ```
/// use hectare_slab::{ByDefault, ObjectCache, SlabInfo, SlabTop};
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
///
/// let mut nodes: ObjectCache<[u64; 24], _, _, ByDefault> = ObjectCache::new("node", ByDefault, frames, window);
/// nodes.allocate()?;
/// let caches = [nodes.info()]; // of all caches of a kernel
/// let text = SlabInfo(&caches).to_string();
/// let line = text.lines().nth(2).expect("two lines of header");
/// assert!(line.starts_with("node                   1     21    192   21    1 : tunables"));
/// assert!(SlabTop(&caches).to_string().contains("Active / Total Slabs (% used)      : 1 / 1 (100.0%)"));
/// # Ok::<(), hectare_core::AllocError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SlabInfo<'a>(pub &'a [CacheInfo]);

impl fmt::Display for SlabInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "slabinfo - version: 2.1")?;
        write!(f, "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>")?;
        write!(f, " : tunables <limit> <batchcount> <sharedfactor>")?;
        writeln!(f, " : slabdata <active_slabs> <num_slabs> <sharedavail>")?;
        self.0.iter().try_for_each(|cache| writeln!(f, "{cache}"))
    }
}

/// Several caches as `slabtop` shows them: sums, then a line for each.
#[derive(Clone, Copy, Debug)]
pub struct SlabTop<'a>(pub &'a [CacheInfo]);

impl SlabTop<'_> {
    fn sum(&self, of: impl Fn(&CacheInfo) -> usize) -> usize {
        self.0.iter().map(of).sum()
    }

    fn line(f: &mut fmt::Formatter<'_>, what: &str, active: usize, total: usize) -> fmt::Result {
        let share = Ratio::new(active as u64, total as u64).permille();
        writeln!(f, " {what:<35}: {active} / {total} ({}.{}%)", share / 10, share % 10)
    }
}

impl fmt::Display for SlabTop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::line(
            f,
            "Active / Total Objects (% used)",
            self.sum(|c| c.active_objects),
            self.sum(|c| c.objects),
        )?;
        Self::line(f, "Active / Total Slabs (% used)", self.sum(|c| c.active_slabs), self.sum(|c| c.slabs))?;
        let active = self.sum(|c| usize::from(c.active_objects > 0));
        Self::line(f, "Active / Total Caches (% used)", active, self.0.len())?;
        let (active, total) = (self.sum(|c| c.active_objects * c.object_size), self.sum(CacheInfo::bytes));
        let share = Ratio::new(active as u64, total as u64).permille();
        let what = "Active / Total Size (% used)";
        let (active, total) = (Kibi(active), Kibi(total));
        writeln!(f, " {what:<35}: {active} / {total} ({}.{}%)", share / 10, share % 10)?;
        let sizes = || self.0.iter().map(|c| c.object_size);
        let (least, most) = (Kibi(sizes().min().unwrap_or(0)), Kibi(sizes().max().unwrap_or(0)));
        let average = Kibi(self.sum(|c| c.objects * c.object_size) / self.sum(|c| c.objects).max(1));
        writeln!(f, " {:<35}: {least} / {average} / {most}", "Minimum / Average / Maximum Object")?;
        writeln!(f)?;
        writeln!(f, "  OBJS ACTIVE  USE OBJ SIZE  SLABS OBJ/SLAB CACHE SIZE NAME")?;
        for c in self.0 {
            let used = Ratio::new(c.active_objects as u64, c.objects as u64).permille() / 10;
            let (objects, active, size) = (c.objects, c.active_objects, Kibi(c.object_size));
            let (slabs, each, bytes) = (c.slabs, c.objects_per_slab, c.bytes() / 1024);
            writeln!(
                f,
                "{objects:>6} {active:>6} {used:>3}% {size:>8} {slabs:>6} {each:>8} {bytes:>9}K {}",
                c.name
            )?;
        }
        Ok(())
    }
}

/// Bytes in KiB with two decimal places, a tie to the even one as C's `printf` has it: 6784 is `6.62K`.
struct Kibi(usize);

impl fmt::Display for Kibi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, fraction) = (self.0 as u64, self.0 as u64 % 1024 * 100);
        let (floor, rest) = (fraction / 1024, fraction % 1024);
        let up = rest > 512 || rest == 512 && floor % 2 == 1;
        let hundredths = bytes / 1024 * 100 + floor + u64::from(up);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        let width = f.width().unwrap_or(0).saturating_sub(4);
        write!(f, "{whole:>width$}.{part:02}K")
    }
}
