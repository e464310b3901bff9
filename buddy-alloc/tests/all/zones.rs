//! Zones: the text of buddyinfo, fallback, watermarks.

use hectare_buddy::{Request, Rows64, Urgency, Watermarks, Zone, Zones};
use hectare_core::{AllocError, CheckInvariants, Figures, Frame, FreeError, Order, Ratio};

use crate::support::{Memory, frames, order, run};

#[test]
fn e17_a_line_of_buddyinfo_for_each_zone() {
    let (mut low, mut high) = (Memory::default(), Memory::default());
    let dma = Zone::<Rows64>::new("DMA", low.engine(&[run(1, 15)], 0));
    let normal = Zone::<Rows64>::new("Normal", high.engine(&[run(0x1000, 0x1010)], 0)).on_node(1);
    let mut zones = Zones::new([dma, normal]).unwrap();
    assert_eq!(
        zones.to_string(),
        "Node 0, zone      DMA      1      1      1      1      0      0      0      0      0      0      0 \n\
         Node 1, zone   Normal      0      0      0      0      1      0      0      0      0      0      4 \n"
    );
    let three = zones.allocate(1, Request::exactly(frames(3)), Urgency::Ordinary).unwrap();
    assert_eq!(three.first(), Frame::new(0x2000));
    assert!(zones.to_string().ends_with(
        "Node 1, zone   Normal      1      0      1      1      0      0      0      0      0      0      4 \n"
    ));
    assert_eq!(zones.unusable(1 << 4), Ratio::new(15 + 13, 0x1010 - 3 + 15));
    zones.check_invariants().unwrap();
}

#[test]
fn a_request_falls_back_and_leaves_what_is_kept() {
    let mut memory = [Memory::default(), Memory::default(), Memory::default()];
    let [dma, dma32, normal] = &mut memory;
    let zones = [
        Zone::<Rows64>::new("DMA", dma.engine(&[run(0, 16)], 0)).keeping(Watermarks {
            min: 2,
            low: 4,
            protected: 8,
            ..Watermarks::default()
        }),
        Zone::<Rows64>::new("DMA32", dma32.engine(&[run(16, 16)], 0)).keeping(Watermarks {
            min: 3,
            low: 6,
            ..Watermarks::default()
        }),
        Zone::<Rows64>::new("Normal", normal.engine(&[run(32, 16)], 0)).keeping(Watermarks {
            min: 1,
            low: 4,
            ..Watermarks::default()
        }),
    ];
    let mut zones = Zones::new(zones).unwrap();
    let one = Request::order(Order::ZERO);
    let mut free = |wanted, urgency| {
        while zones.allocate(wanted, one, urgency).is_ok() {}
        zones.check_invariants().unwrap();
        let free = [0, 1, 2].map(|zone| zones.zones()[zone].frames.free_frames());
        (free, zones.allocate(wanted, one, urgency))
    };
    // Normal down to its minimum, DMA32 too; DMA keeps the protected frames besides.
    assert_eq!(free(2, Urgency::Ordinary), ([10, 3, 1], Err(AllocError::OutOfMemory)));
    assert_eq!(free(0, Urgency::Ordinary), ([2, 3, 1], Err(AllocError::OutOfMemory)));
    assert_eq!(free(1, Urgency::Urgent), ([0, 0, 1], Err(AllocError::OutOfMemory)));
    assert!(zones.zones()[0].is_low());
    assert_eq!(zones.allocate(2, Request::order(order(5)), Urgency::Urgent), Err(AllocError::TooLarge));
    zones.free(run(0, 16)).unwrap();
    assert_eq!(zones.free(run(0, 16)), Err(FreeError::NotAllocated));
    assert_eq!(zones.free(run(15, 2)), Err(FreeError::Foreign));
    assert_eq!(zones.usage().free, 17);
}

#[test]
fn the_low_mark_sends_requests_on_before_the_minimum_is_used() {
    let mut memory = [Memory::default(), Memory::default()];
    let [near, far] = &mut memory;
    let marks = Watermarks { min: 1, low: 4, ..Watermarks::default() };
    let near = Zone::<Rows64>::new("Normal", near.engine(&[run(0, 8)], 0)).keeping(marks);
    let far = Zone::<Rows64>::new("Normal", far.engine(&[run(8, 8)], 0)).on_node(1).keeping(marks);
    let mut zones = Zones::new([near, far]).unwrap().falling_back(0, &[0, 1]);
    let mut nodes = String::new();
    while let Ok(run) = zones.allocate(0, Request::order(Order::ZERO), Urgency::Ordinary) {
        nodes.push(if run.first() < Frame::new(8) { '0' } else { '1' });
    }
    assert_eq!(nodes, "00001111000111");
}

#[test]
fn zones_that_share_a_frame_are_refused() {
    let (mut one, mut two) = (Memory::default(), Memory::default());
    let zones = [
        Zone::<Rows64>::new("a", one.engine(&[run(0, 8)], 0)),
        Zone::<Rows64>::new("b", two.engine(&[run(7, 2)], 0)),
    ];
    assert_eq!(Zones::new(zones).err(), Some(1));
}
