//! slabmalloc: pages of one size, a bitmap in each; caches and a zone of powers of two.

use core::alloc::Layout;
use core::ptr::NonNull;

use slabmalloc::{AllocablePage, Allocator, LargeObjectPage, ObjectPage, SCAllocator, ZoneAllocator};

use super::program::Shape;
use super::subject::Subject;

/// What a page of 4 KiB holds at most, beside its 80 bytes of bookkeeping.
const SMALL: u32 = 4096 - 80;

enum Cache {
    Kmalloc,
    Small(SCAllocator<'static, ObjectPage<'static>>),
    Large(SCAllocator<'static, LargeObjectPage<'static>>),
}

/// Its caches, and its zone as `kmalloc`. Small pages come from the arena's start, large ones (2 MiB) from its end.
pub(super) struct SlabMalloc {
    caches: Vec<Cache>,
    zone: ZoneAllocator<'static>,
    start: NonNull<u8>,
    small: usize,
    large: usize,
}

impl SlabMalloc {
    /// A page of type `P`: small ones upwards, large ones downwards.
    fn page<P: AllocablePage>(&mut self) -> Option<&'static mut P> {
        let at = if P::SIZE == 4096 {
            let at = self.small;
            self.small = at.checked_add(P::SIZE).filter(|end| *end <= self.large)?;
            at
        } else {
            self.large = self.large.checked_sub(P::SIZE).filter(|start| *start >= self.small)?;
            self.large
        };
        // SAFETY: inside the arena.
        let page = unsafe { self.start.add(at) };
        // SAFETY: as above; the page is nobody's yet.
        unsafe { page.write_bytes(0, P::SIZE) };
        // SAFETY: zeros are an empty page; it is aligned to its size, and handed out once.
        Some(unsafe { page.cast::<P>().as_mut() })
    }

    #[inline(always)]
    fn take(&mut self, cache: usize, layout: Layout) -> Option<NonNull<u8>> {
        match &mut self.caches[cache] {
            Cache::Kmalloc => self.zone.allocate(layout).ok(),
            Cache::Small(cache) => cache.allocate(layout).ok(),
            Cache::Large(cache) => cache.allocate(layout).ok(),
        }
    }

    #[cold]
    fn grow(&mut self, cache: usize, layout: Layout) -> Option<()> {
        let small = match &self.caches[cache] {
            Cache::Kmalloc => layout.size() <= ZoneAllocator::MAX_BASE_ALLOC_SIZE,
            Cache::Small(_) => true,
            Cache::Large(_) => false,
        };
        if small {
            let page = self.page::<ObjectPage<'static>>()?;
            match &mut self.caches[cache] {
                // SAFETY: an empty page.
                Cache::Small(cache) => unsafe { cache.refill(page) },
                // SAFETY: as above.
                _ => unsafe { self.zone.refill(layout, page) }.ok()?,
            }
        } else {
            let page = self.page::<LargeObjectPage<'static>>()?;
            match &mut self.caches[cache] {
                // SAFETY: an empty page.
                Cache::Large(cache) => unsafe { cache.refill(page) },
                // SAFETY: as above.
                _ => unsafe { self.zone.refill_large(layout, page) }.ok()?,
            }
        }
        Some(())
    }
}

// SAFETY: every request goes to slabmalloc.
unsafe impl Subject for SlabMalloc {
    unsafe fn build(arena: NonNull<[u8]>, caches: &[Shape], _cpus: usize) -> Option<Box<Self>> {
        let make = |shape: &Shape| match shape.size {
            _ if shape.kmalloc => Cache::Kmalloc,
            size if size <= SMALL => Cache::Small(SCAllocator::new((size as usize).max(8))),
            size => Cache::Large(SCAllocator::new(size as usize)),
        };
        let caches = caches.iter().map(make).collect();
        let (start, large) = (arena.cast(), arena.len() & !(LargeObjectPage::SIZE - 1));
        Some(Box::new(Self { caches, zone: ZoneAllocator::new(), start, small: 0, large }))
    }

    #[inline(always)]
    fn allocate(&mut self, cache: usize, layout: Layout) -> *mut u8 {
        if let Some(object) = self.take(cache, layout) {
            return object.as_ptr();
        }
        let again = self.grow(cache, layout).and_then(|()| self.take(cache, layout));
        again.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn free(&mut self, cache: usize, object: *mut u8, layout: Layout) {
        // SAFETY: a live object is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        let result = match &mut self.caches[cache] {
            Cache::Kmalloc => self.zone.deallocate(object, layout),
            Cache::Small(cache) => cache.deallocate(object, layout),
            Cache::Large(cache) => cache.deallocate(object, layout),
        };
        debug_assert!(result.is_ok(), "a live object was not taken back");
    }

    fn outside_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.caches)
    }
}
