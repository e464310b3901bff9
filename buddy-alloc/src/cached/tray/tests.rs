extern crate alloc;

use alloc::collections::BTreeSet;

use super::*;

/// Blocks of a group that lie in a bank: all of most, half of one.
fn known(number: u64) -> u64 {
    if number == 5 { u32::MAX.into() } else { u64::MAX }
}

/// Against a set of numbers: blocks of few groups, two of which share a place.
#[test]
fn a_tray_is_a_set() {
    let (mut tray, mut model, mut state) = (Tray::EMPTY, BTreeSet::new(), 1u64);
    for _ in 0..if cfg!(miri) { 300 } else { 100_000 } {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let group = [0, 1, PLACES as u64, 5][(state >> 40) as usize % 4];
        let block = group << 6 | state >> 50 & 63;
        match state >> 60 {
            0..=6 => {
                if tray.give(block) {
                    assert!(known(group) >> (block & 63) & 1 == 1);
                    assert!(model.insert(block));
                    assert!(tray.hand == block || tray.count() <= 40);
                }
            }
            7..=8 if known(group) >> (block & 63) & 1 == 1 => match tray.prepare(block, known(group), 40) {
                Ok(before) => {
                    forget(&mut model, before);
                    if tray.give(block) {
                        assert!(model.insert(block));
                    } else {
                        assert!(tray.is_full());
                    }
                }
                Err(error) => {
                    assert_eq!(error, FreeError::NotAllocated);
                    assert!(model.contains(&block));
                }
            },
            9..=13 => match tray.take().or_else(|| tray.take_from_other(state >> 30 & 1 == 1)) {
                Some(block) => assert!(model.remove(&block)),
                None => assert!(model.is_empty() || state >> 30 & 1 == 0),
            },
            14 => {
                let blocks = (0..64).filter(|bit| !model.contains(&(group << 6 | bit)));
                let blocks = blocks.fold(0, |blocks, bit| blocks | (state << 20 & 1 << bit)) & known(group);
                let before = tray.stock(group, blocks, known(group));
                forget(&mut model, before);
                model.extend((0..64).filter(|bit| blocks >> bit & 1 == 1).map(|bit| group << 6 | bit));
            }
            15 if state >> 30 & 15 == 0 => {
                while let Some(before) = tray.spill() {
                    forget(&mut model, Some(before));
                }
                let last = tray.forget();
                forget(&mut model, last);
                assert!(model.is_empty() && !tray.give(block));
            }
            _ => {
                let before = tray.spill();
                forget(&mut model, before);
            }
        }
        let hand = usize::from(tray.hand != NOTHING);
        assert_eq!(tray.count() as usize + hand, model.len());
        assert_eq!(tray.count(), tray.here.iter().map(|blocks| blocks.count_ones()).sum::<u32>());
        assert!((0..PLACES).all(|at| tray.here[at] & tray.away[at] == 0));
        assert!((0..PLACES).all(|at| tray.here[at] == 0 || tray.filled >> at & 1 == 1));
    }
}

fn forget(model: &mut BTreeSet<u64>, group: Option<(u64, u64)>) {
    let Some((number, blocks)) = group else { return };
    assert_ne!(blocks, 0);
    for bit in (0..64).filter(|bit| blocks >> bit & 1 == 1) {
        assert!(model.remove(&(number << 6 | bit)));
    }
}
