//! What the checked pass means for a row: figures, remarks, and whether the timed passes may run.

use super::allocators::{Allocator, Class};
use super::child::{Checked, Smallest};
use super::program::Program;
use super::row::{Memory, Note, Row};

impl Row {
    /// Nothing is known yet.
    pub(super) fn new(allocator: &'static Allocator, program: &Program) -> Self {
        Self {
            allocator,
            ops: program.ops().len(),
            speed: None,
            latency: None,
            memory: Memory { peak_live: program.peak_bytes(), ..Memory::default() },
            failed: None,
            valid: None,
            may_run: false,
            broke_a_rule: false,
            notes: Vec::new(),
        }
    }

    /// Adds a remark.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(Note(text));
    }

    /// Whether the timed passes can go on with it.
    pub(super) fn runs(&self) -> bool {
        self.allocator.class == Class::Baseline || (self.may_run && self.allocator.class != Class::Broken)
    }

    /// Enters what the checked pass found; returns the arena that it used.
    pub(super) fn take_check(&mut self, program: &Program, checked: Result<Checked, String>) -> usize {
        if let Class::Lesser(why) = self.allocator.class {
            self.note(why.to_owned());
        }
        let Checked { arena_bytes, survey, smallest, .. } = match checked {
            Ok(checked) => checked,
            Err(why) => {
                self.broke_a_rule = true;
                self.note(why);
                return 0;
            }
        };
        match smallest {
            Some(Smallest::Ratio(ratio)) => self.memory.smallest = Some(ratio),
            Some(Smallest::BeyondCap) => self.memory.beyond_cap = true,
            None => {}
        }
        let Some(survey) = survey else {
            self.broke_a_rule = true;
            self.note("cannot begin in an arena of twice the peak".into());
            return 0;
        };
        self.valid = Some(survey.breach.is_none());
        self.may_run = survey.breach.as_ref().is_none_or(|(breach, _)| !breach.is_fatal());
        let complete = survey.ops == program.ops().len();
        self.failed = Some(survey.failed);
        self.broke_a_rule = survey.breach.is_some() || survey.refused_in_vain.is_some();
        if let Some((breach, op)) = survey.breach {
            self.note(format!("{} (at operation {op})", breach.phrase()));
        } else if !complete {
            self.note(format!("checked in part (the first {} %)", survey.ops * 100 / program.ops().len()));
        }
        if let Some(op) = survey.refused_in_vain {
            self.note(format!("refused a request although memory was there (at operation {op})"));
        } else if survey.failed > 0 {
            self.note(format!("refused requests ({} of them)", survey.failed));
        }
        if arena_bytes > program.arena_bytes(2) {
            let times = arena_bytes as f64 / program.peak_bytes().max(1) as f64;
            self.note(format!("given more than twice the peak ({times:.0}x)"));
        }
        if self.allocator.class != Class::Hosted {
            self.memory.peak_used = complete.then_some(survey.peak_used);
            self.memory.at_peak = survey.at_peak;
        }
        self.memory.metadata = (self.allocator.class != Class::Hosted).then_some(survey.metadata_bytes);
        (self.memory.samples, self.memory.map) = (survey.samples, survey.map);
        arena_bytes
    }
}
