extern crate alloc;

use alloc::collections::BTreeSet;

use super::*;

/// Against a set of numbers: blocks of few groups, two of which share a place.
#[test]
fn a_tray_is_a_set() {
    let (mut tray, mut model, mut state) = (Tray::EMPTY, BTreeSet::new(), 1u64);
    for _ in 0..if cfg!(miri) { 300 } else { 100_000 } {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let group = [0, 1, 16, 5][(state >> 40) as usize % 4];
        let block = group << 6 | state >> 50 & 63;
        match state >> 60 {
            0..=3 if tray.has_hand() => {
                if tray.give_near(block, 40) {
                    assert!(model.insert(block));
                    assert!(tray.count < 40);
                }
            }
            0..=7 => match tray.give(block) {
                Ok(before) => {
                    assert!(model.insert(block));
                    if let Some((number, blocks)) = before.and_then(|before| tray.keep(before)) {
                        forget(&mut model, number, blocks);
                    }
                }
                Err(error) => {
                    assert_eq!(error, FreeError::NotAllocated);
                    assert!(model.contains(&block));
                }
            },
            8..=13 => match tray.take().or_else(|| tray.take_row()) {
                Some(block) => assert!(model.remove(&block)),
                None => assert!(model.is_empty()),
            },
            14 if tray.stock.blocks == 0 => {
                let blocks = (0..64).filter(|bit| !model.contains(&(group << 6 | bit)));
                let blocks = blocks.fold(0, |blocks, bit| blocks | (state << 20 & 1 << bit));
                tray.stock(group, blocks);
                model.extend((0..64).filter(|bit| blocks >> bit & 1 == 1).map(|bit| group << 6 | bit));
            }
            _ => {
                if let Some((number, blocks)) = tray.spill() {
                    forget(&mut model, number, blocks);
                }
            }
        }
        let hand = usize::from(tray.hand != NOTHING);
        assert_eq!(tray.all() as usize + hand, model.len());
        assert_eq!(tray.count, tray.rows.iter().map(|row| row.blocks.count_ones()).sum::<u32>());
        let rows = (0..ROWS).filter(|row| tray.rows[*row].blocks != 0).fold(0, |rows, row| rows | 1 << row);
        assert_eq!(tray.filled, rows);
    }
}

fn forget(model: &mut BTreeSet<u64>, number: u64, blocks: u64) {
    assert_ne!(blocks, 0);
    for bit in (0..64).filter(|bit| blocks >> bit & 1 == 1) {
        assert!(model.remove(&(number << 6 | bit)));
    }
}
