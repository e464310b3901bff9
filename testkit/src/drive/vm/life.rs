//! Processes that begin, access memory, fork and end.
#![forbid(unsafe_code)]

use super::process::{Page, Process, join};
use super::{CELLS, OBJECT, SpacesUnderTest, Stop, VmModel, original, wrong};
use crate::drive::Breach;

impl<S: SpacesUnderTest> VmModel<S> {
    pub(super) fn contents(&self, page: &Page) -> [u64; CELLS] {
        match (page.own, page.object) {
            (Some(own), _) => own,
            (None, None) => [0; CELLS],
            (None, Some((id, at, _))) => {
                let fresh = core::array::from_fn(|cell| original(id, at, cell));
                self.objects.get(&(id, at)).copied().unwrap_or(fresh)
            }
        }
    }

    /// What an access must come to.
    pub(super) fn expected(&self, process: u8, page: u64, write: bool) -> Result<Page, Stop> {
        let process = self.processes[usize::from(process)].as_ref();
        let page = process.and_then(|process| process.pages.get(&page)).ok_or(Stop::Segmentation)?;
        let permitted = if write { page.rights & 2 != 0 } else { (self.readable)(page.rights) };
        if !permitted {
            return Err(Stop::Segmentation);
        }
        match page.object {
            Some((_, at, _)) if at >= OBJECT && page.own.is_none() => Err(Stop::Bus),
            _ => Ok(*page),
        }
    }

    pub(super) fn access(
        &mut self,
        process: u8,
        at: u64,
        cell: usize,
        value: Option<u64>,
    ) -> Result<(), Breach> {
        if self.processes[usize::from(process)].is_none() {
            return Ok(());
        }
        let expected = self.expected(process, at, value.is_some());
        let found = match value {
            Some(value) => self.spaces.write(process, at, cell, value).map(|()| value),
            None => self.spaces.read(process, at, cell),
        };
        let what = if value.is_some() { "write" } else { "read" };
        match (expected, found) {
            (_, Err(Stop::Memory)) if self.starving || self.scarce => {
                self.counts.refused += 1;
                Ok(())
            }
            (Err(expected), Err(found)) if expected == found => Ok(()),
            (Ok(page), Ok(found)) => {
                let mut words = self.contents(&page);
                if value.is_none() && found != words[cell] {
                    return Err(wrong(format!(
                        "process {process} read {found:#x} at page {at}, word {cell}, where {:#x} is",
                        words[cell]
                    )));
                }
                let Some(value) = value else { return Ok(()) };
                words[cell] = value;
                if let Some((id, page, true)) = page.object {
                    self.objects.insert((id, page), words);
                } else if let Some(page) = self.processes[usize::from(process)]
                    .as_mut()
                    .and_then(|process| process.pages.get_mut(&at))
                {
                    page.own = Some(words);
                }
                Ok(())
            }
            (expected, found) => Err(wrong(format!(
                "a {what} of process {process} at page {at}: {found:?}, and not {:?}",
                expected.map(|page| self.contents(&page)[cell])
            ))),
        }
    }

    pub(super) fn end(&mut self, process: u8) {
        if self.processes[usize::from(process)].take().is_some() {
            self.spaces.exit(process);
            self.counts.freed += 1;
        }
    }

    pub(super) fn begin(&mut self, process: u8) -> Result<(), Breach> {
        if self.processes[usize::from(process)].is_some() {
            return Ok(());
        }
        match self.spaces.begin(process) {
            Ok(()) => {
                self.processes[usize::from(process)] = Some(Process::default());
                Ok(())
            }
            Err(refusal) => self.refused("a process", refusal, false),
        }
    }

    pub(super) fn fork(&mut self, process: u8, child: u8) -> Result<(), Breach> {
        if process == child || self.processes[usize::from(process)].is_none() {
            return Ok(());
        }
        self.end(child);
        match self.spaces.fork(process, child) {
            Ok(()) => {
                self.processes[usize::from(child)] = self.processes[usize::from(process)].clone();
                Ok(())
            }
            Err(refusal) => self.refused("a fork", refusal, false),
        }
    }

    /// The areas are those of the model.
    pub(super) fn compare(&self) -> Result<(), Breach> {
        for (process, model) in (0..).zip(&self.processes) {
            let Some(model) = model else { continue };
            let (expected, found) = (model.stretches(), join(self.spaces.stretches(process)));
            if expected != found {
                return Err(wrong(format!("process {process} has {found:?}, and not {expected:?}")));
            }
        }
        Ok(())
    }
}
