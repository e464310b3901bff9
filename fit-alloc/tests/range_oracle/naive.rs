//! The stupid range allocator: a vector of pieces, every question answered by looking at all of them.

use hectare_fit::range::RangeError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Best,
    Worst,
    First,
    Next,
    Last,
    Good,
    Half,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) used: bool,
    /// When the hole got its size.
    stamp: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.length
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) length: u64,
    pub(crate) align: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) boundary: u64,
}

impl Ask {
    pub(crate) fn plain(length: u64) -> Self {
        Self { length, align: 1, low: 0, high: u64::MAX, boundary: 0 }
    }

    fn allows(&self, start: u64) -> bool {
        let last = start + self.length - 1;
        start % self.align == 0
            && start >= self.low
            && last < self.high
            && (self.boundary == 0 || start / self.boundary == last / self.boundary)
    }

    fn lowest(&self, hole: &Piece) -> Option<u64> {
        (hole.start..hole.end()).find(|s| s + self.length <= hole.end() && self.allows(*s))
    }

    fn highest(&self, hole: &Piece) -> Option<u64> {
        (hole.start..hole.end()).rev().find(|s| s + self.length <= hole.end() && self.allows(*s))
    }
}

pub(crate) struct Naive {
    rule: Rule,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) end: u64,
    clock: u64,
    rover: u64,
    pub(crate) table: usize,
}

/// The class of good fit: exact below 2048, else the octave cut into thirty-two.
fn good_class(length: u64) -> (u32, u64) {
    if length < 2048 {
        return (0, length);
    }
    let octave = 63 - length.leading_zeros();
    (octave, length / (1 << (octave - 5)))
}

impl Naive {
    pub(crate) fn new(rule: Rule, length: u64, table: usize) -> Self {
        let all = Piece { start: 0, length, used: false, stamp: 1 };
        Self { rule, pieces: vec![all], end: length, clock: 1, rover: 0, table }
    }

    pub(crate) fn free(&self) -> u64 {
        self.holes().map(|h| h.length).sum()
    }

    pub(crate) fn holes(&self) -> impl DoubleEndedIterator<Item = &Piece> {
        self.pieces.iter().filter(|p| !p.used)
    }

    /// The holes in the policy's order for a request of this length.
    fn order(&self, length: u64) -> Vec<Piece> {
        let mut holes: Vec<Piece> = self.holes().copied().collect();
        let late = |p: &Piece| u64::MAX - p.stamp;
        match self.rule {
            Rule::First => {}
            Rule::Last => holes.reverse(),
            Rule::Next => {
                let from = holes.iter().position(|h| h.end() > self.rover).unwrap_or(0);
                holes.rotate_left(from);
            }
            Rule::Best => holes.sort_by_key(|h| (h.length, late(h))),
            Rule::Worst => holes.sort_by_key(|h| (u64::MAX - h.length, late(h))),
            Rule::Good => {
                holes.retain(|h| good_class(h.length) >= good_class(length));
                holes.sort_by_key(|h| (good_class(h.length), late(h)));
            }
            Rule::Half => {
                holes.retain(|h| h.length.ilog2() >= length.ilog2());
                holes.sort_by_key(|h| (h.length.ilog2(), late(h)));
            }
        }
        holes
    }

    fn choose(&self, ask: &Ask) -> Option<(Piece, u64, u64)> {
        let length = ask.length;
        let order = self.order(length);
        let plain = ask.align == 1 && ask.low == 0 && ask.high >= self.end && ask.boundary == 0;
        let lowest = |h: &Piece| Some((*h, h.start, length));
        match self.rule {
            Rule::Last => order.iter().find_map(|h| Some((*h, ask.highest(h)?, length))),
            Rule::Good if plain => {
                let own = |h: &&Piece| good_class(h.length) == good_class(length);
                let newest = order.first().filter(own).filter(|h| h.length >= length);
                let above = || order.iter().find(|h| !own(h));
                let hidden = || order.iter().find(|h| h.length >= length);
                newest.or_else(above).or_else(hidden).and_then(lowest)
            }
            Rule::Half if plain => {
                let rounded = length.next_power_of_two();
                if let Some(hole) = order.iter().find(|h| h.length.ilog2() >= rounded.ilog2()) {
                    return Some((*hole, hole.start, rounded));
                }
                order.iter().find(|h| h.length >= length).and_then(lowest)
            }
            _ => order.iter().find_map(|h| Some((*h, ask.lowest(h)?, length))),
        }
    }

    pub(crate) fn allocate(&mut self, ask: &Ask) -> Result<(u64, u64), RangeError> {
        let free = self.free();
        if ask.length > free {
            let too_large = ask.length > self.end;
            return Err(if too_large { RangeError::TooLarge } else { RangeError::OutOfSpace });
        }
        let (hole, start, length) = self.choose(ask).ok_or(RangeError::Fragmented)?;
        self.cut(hole, start, length)?;
        self.rover = start + length;
        Ok((start, length))
    }

    pub(crate) fn allocate_at(&mut self, start: u64, length: u64) -> Result<(u64, u64), RangeError> {
        if start + length > self.end {
            return Err(RangeError::Outside);
        }
        let fits = |h: &&Piece| h.start <= start && start + length <= h.end();
        let hole = *self.holes().find(fits).ok_or(RangeError::InUse)?;
        self.cut(hole, start, length)?;
        Ok((start, length))
    }

    /// The stamp of a hole that changes its length: under good and half fit, its class must change.
    fn restamp(&mut self, hole: Piece, length: u64) -> u64 {
        let stays = match self.rule {
            Rule::Good => good_class(hole.length) == good_class(length),
            Rule::Half => hole.length.ilog2() == length.ilog2(),
            _ => false,
        };
        if stays {
            return hole.stamp;
        }
        self.clock += 1;
        self.clock
    }

    fn cut(&mut self, hole: Piece, start: u64, length: u64) -> Result<(), RangeError> {
        let at = self.pieces.iter().position(|p| p.start == hole.start).unwrap();
        let mut new = Vec::new();
        let (below, above) = (start - hole.start, hole.end() - start - length);
        if below > 0 {
            let stamp = self.restamp(hole, below);
            new.push(Piece { start: hole.start, length: below, used: false, stamp });
        }
        new.push(Piece { start, length, used: true, stamp: 0 });
        if above > 0 {
            self.clock += 1;
            let stamp = if below > 0 { self.clock } else { self.restamp(hole, above) };
            new.push(Piece { start: start + length, length: above, used: false, stamp });
        }
        if self.pieces.len() - 1 + new.len() > self.table {
            return Err(RangeError::TableFull);
        }
        self.pieces.splice(at..=at, new);
        Ok(())
    }

    pub(crate) fn release(&mut self, start: u64) {
        let mut at = self.pieces.iter().position(|p| p.start == start && p.used).unwrap();
        self.clock += 1;
        self.pieces[at].used = false;
        self.pieces[at].stamp = self.clock;
        // The hole below stays and grows; if there is none, the one above does.
        let above = self.pieces.get(at + 1).copied().filter(|p| !p.used);
        if let Some(above) = above {
            self.pieces.remove(at + 1);
            let whole = self.pieces[at].length + above.length;
            self.pieces[at].stamp = self.restamp(above, whole);
            self.pieces[at].length = whole;
        }
        if at > 0 && !self.pieces[at - 1].used {
            let piece = self.pieces.remove(at);
            at -= 1;
            let (below, whole) = (self.pieces[at], self.pieces[at].length + piece.length);
            self.pieces[at].stamp = self.restamp(below, whole);
            self.pieces[at].length = whole;
        }
    }

    pub(crate) fn grow(&mut self, units: u64) -> Result<(), RangeError> {
        self.clock += 1;
        let (end, table, count) = (self.end, self.table, self.pieces.len());
        match self.pieces.last().copied() {
            Some(top) if !top.used => {
                let stamp = self.restamp(top, top.length + units);
                self.pieces[count - 1] = Piece { length: top.length + units, stamp, ..top };
            }
            _ if count + 1 > table => return Err(RangeError::TableFull),
            _ => self.pieces.push(Piece { start: end, length: units, used: false, stamp: self.clock }),
        }
        self.end += units;
        Ok(())
    }

    pub(crate) fn shrink(&mut self, units: u64) -> Result<(), RangeError> {
        if units >= self.end {
            return Err(RangeError::Outside);
        }
        let (count, top) = (self.pieces.len(), *self.pieces.last().unwrap());
        if top.used || top.length < units {
            return Err(RangeError::InUse);
        }
        if top.length > units {
            let stamp = self.restamp(top, top.length - units);
            self.pieces[count - 1] = Piece { length: top.length - units, stamp, ..top };
        } else {
            self.pieces.pop();
        }
        self.end -= units;
        Ok(())
    }
}
