//! Calls that change what is mapped.
#![forbid(unsafe_code)]

use super::process::{Page, has_room};
use super::{Refusal, SpacesUnderTest, VmModel, small, wrong};
use crate::drive::{Breach, Model};
use crate::op::VmOp;
use crate::op::vm::{Advice, What, Where};

impl<S: SpacesUnderTest> VmModel<S> {
    pub(super) fn map(
        &mut self,
        process: u8,
        first: u64,
        count: u64,
        rights: u8,
        place: Where,
        what: What,
    ) -> Result<(), Breach> {
        let inside = first + count <= self.space + self.heap;
        let (space, heap) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let free = model.free(first, count);
        let result = self.spaces.map(process, first, count, rights, place, what);
        let at = match result {
            Ok(at) => at,
            Err(refusal) => {
                let room = has_room(model, space + heap, count);
                let rule = match place {
                    Where::Anywhere | Where::Hint => !room,
                    Where::Fixed => !inside,
                    Where::NoReplace => !inside || !free,
                };
                return self.refused("a mapping", refusal, rule);
            }
        };
        let given = match place {
            Where::Fixed => at == first,
            Where::NoReplace => at == first && free,
            Where::Hint if free && inside => at == first,
            Where::Hint | Where::Anywhere => model.free(at, count) && at + count <= space + heap,
        };
        if !given {
            return Err(wrong(format!("{count} pages were mapped at {at}, {place:?} {first}")));
        }
        let object = |nth| match what {
            What::Anonymous | What::Huge => None,
            What::Object { id, offset, shared } => Some((id, u64::from(offset) + nth, shared)),
        };
        for nth in 0..count {
            model.pages.insert(at + nth, Page { rights, object: object(nth), own: None });
        }
        self.counts.allocated += 1;
        Ok(())
    }

    pub(super) fn remap(
        &mut self,
        process: u8,
        old: u64,
        old_count: u64,
        count: u64,
        to: Option<u64>,
    ) -> Result<(), Breach> {
        // What a destination holds may be lost by a refused move, so it is made free before.
        let clear =
            |to: &u64| to + count <= self.space + self.heap && (to + count <= old || old + old_count <= *to);
        if let Some(to) = to.filter(clear) {
            self.step(VmOp::Unmap { process, first: small(to), count: small(count) })?;
        }
        let (space, heap) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let pages: Vec<Option<Page>> =
            (old..old + old_count).map(|page| model.pages.get(&page).copied()).collect();
        match self.spaces.remap(process, old, old_count, count, to) {
            Err(refusal) => self.refused("a remap", refusal, true),
            // Nothing moves; of what goes only the first page must have been there.
            Ok(at) if to.is_none() && count <= old_count => {
                if at != old || pages.first().is_none_or(Option::is_none) {
                    return Err(wrong(format!("{old_count} pages at {old} shrank at {at}")));
                }
                (old + count..old + old_count).for_each(|page| {
                    model.pages.remove(&page);
                });
                self.counts.resized += 1;
                Ok(())
            }
            Ok(at) => {
                let Some(pages) = pages.into_iter().collect::<Option<Vec<Page>>>() else {
                    return Err(wrong("a hole was moved"));
                };
                (old..old + old_count).for_each(|page| {
                    model.pages.remove(&page);
                });
                if !model.free(at, count) || at + count > space + heap || to.is_some_and(|to| to != at) {
                    return Err(wrong(format!(
                        "{count} pages were moved to {at}, which is not free or not {to:?}"
                    )));
                }
                let last = pages[pages.len() - 1];
                for nth in 0..count {
                    let page = usize::try_from(nth).ok().and_then(|nth| pages.get(nth)).copied();
                    let more = (nth + 1).saturating_sub(old_count);
                    let new = Page {
                        object: last.object.map(|(id, at, shared)| (id, at + more, shared)),
                        own: None,
                        ..last
                    };
                    model.pages.insert(at + nth, page.unwrap_or(new));
                }
                self.counts.resized += 1;
                Ok(())
            }
        }
    }

    pub(super) fn brk(&mut self, process: u8, pages: u64) -> Result<(), Breach> {
        let (start, most) = (self.space, self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let old = model.heap;
        // A page behind a heap that grows stays free.
        let free = pages <= old || model.free(start + old, pages - old + 1);
        match self.spaces.brk(process, pages) {
            Err(refusal) => self.refused("a brk", refusal, pages > most || !free),
            Ok(()) if !free || pages > most => {
                Err(wrong("the heap grew over a mapping, or out of the space"))
            }
            Ok(()) => {
                for page in pages.min(old)..pages.max(old) {
                    if pages > old {
                        model.pages.insert(start + page, Page { rights: 3, object: None, own: None });
                    } else {
                        model.pages.remove(&(start + page));
                    }
                }
                model.heap = pages;
                Ok(())
            }
        }
    }

    pub(super) fn advise(
        &mut self,
        process: u8,
        first: u64,
        count: u64,
        advice: Advice,
    ) -> Result<(), Breach> {
        let (end, inside) = (first + count, first + count <= self.space + self.heap);
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        let whole = model.pages.range(first..end).count() as u64 == count;
        // It goes on behind a hole, and stops at what it does not suit.
        let unsuitable = |page: &Page| advice == Advice::Free && page.object.is_some();
        let stop = model.pages.range(first..end).find(|(_, page)| unsuitable(page)).map(|(at, _)| *at);
        let followed = match self.spaces.advise(process, first, count, advice) {
            Ok(()) if !whole || stop.is_some() => {
                return Err(wrong(
                    "advice about a hole, or where it does not suit, was taken without a word",
                ));
            }
            Ok(()) => true,
            Err(refusal) => {
                let rule = matches!(refusal, Refusal::Rule(_));
                self.refused("advice", refusal, !whole || stop.is_some())?;
                rule && inside
            }
        };
        let Some(model) = &mut self.processes[usize::from(process)] else { return Ok(()) };
        if followed && matches!(advice, Advice::DontNeed | Advice::Free) {
            let forgotten = first..stop.unwrap_or(end);
            model.pages.range_mut(forgotten).for_each(|(_, page)| page.own = None);
        }
        Ok(())
    }
}
