//! Equality with the encodings of the crates `x86_64` and `x86` on random input.
use hectare_segmentation::x86::{Kind, Limit, LongSystem, Ring, SegmentDescriptor};
use proptest::prelude::*;
use x86::segmentation::{
    BuildDescriptor, CodeSegmentType, DataSegmentType, DescriptorBuilder, SegmentDescriptorBuilder,
};
use x86_64::structures::gdt::DescriptorFlags;

#[test]
fn the_flags_of_x86_64() {
    let flat = |descriptor: SegmentDescriptor| SegmentDescriptor { accessed: true, ..descriptor }.encode();
    assert_eq!(flat(SegmentDescriptor::code64(Ring::Ring0)), DescriptorFlags::KERNEL_CODE64.bits());
    assert_eq!(flat(SegmentDescriptor::flat_code32(Ring::Ring0)), DescriptorFlags::KERNEL_CODE32.bits());
    assert_eq!(flat(SegmentDescriptor::flat_data(Ring::Ring0)), DescriptorFlags::KERNEL_DATA.bits());
    assert_eq!(flat(SegmentDescriptor::code64(Ring::Ring3)), DescriptorFlags::USER_CODE64.bits());
    assert_eq!(flat(SegmentDescriptor::flat_data(Ring::Ring3)), DescriptorFlags::USER_DATA.bits());
}

#[test]
fn the_task_state_of_x86_64() {
    static TASK: x86_64::structures::tss::TaskStateSegment = x86_64::structures::tss::TaskStateSegment::new();
    let base = core::ptr::from_ref(&TASK).addr() as u64;
    let x86_64::structures::gdt::Descriptor::SystemSegment(low, high) =
        x86_64::structures::gdt::Descriptor::tss_segment(&TASK)
    else {
        panic!("a system segment")
    };
    assert_eq!(LongSystem::tss(base, 103).expect("long enough").encode(), [low, high]);
}

proptest! {
    #[test]
    fn the_builder_of_x86(base: u32, field in 0_u32..1 << 20, pages: bool, ring in 0_u8..4, kind in 0_usize..4, present: bool,
                          available: bool, accessed: bool) {
        let ring = Ring::from_bits(ring);
        let (ours, builder) = match kind {
            0 => (Kind::Code { conforming: false, readable: true },
                  DescriptorBuilder::code_descriptor(base, field, if accessed { CodeSegmentType::ExecuteReadAccessed } else { CodeSegmentType::ExecuteRead })),
            1 => (Kind::Code { conforming: true, readable: false },
                  DescriptorBuilder::code_descriptor(base, field, if accessed { CodeSegmentType::ExecuteConformingAccessed } else { CodeSegmentType::ExecuteConforming })),
            2 => (Kind::Data { expand_down: true, writable: true },
                  DescriptorBuilder::data_descriptor(base, field, if accessed { DataSegmentType::ReadWriteExpandAccessed } else { DataSegmentType::ReadWriteExpand })),
            _ => (Kind::Data { expand_down: false, writable: false },
                  DescriptorBuilder::data_descriptor(base, field, if accessed { DataSegmentType::ReadOnlyAccessed } else { DataSegmentType::ReadOnly })),
        };
        let mut builder = builder.db().dpl(match ring { Ring::Ring0 => x86::Ring::Ring0, Ring::Ring1 => x86::Ring::Ring1, Ring::Ring2 => x86::Ring::Ring2, Ring::Ring3 => x86::Ring::Ring3 });
        if present { builder = builder.present(); }
        if available { builder = builder.avl(); }
        if pages { builder = builder.limit_granularity_4kb(); }
        let theirs: x86::segmentation::Descriptor = builder.finish();
        let descriptor = SegmentDescriptor { base, limit: Limit::new(field, pages).expect("20 bits"), kind: ours, ring, present,
                                             accessed, available, long: false, big: true };
        prop_assert_eq!(descriptor.encode(), u64::from(theirs.upper) << 32 | u64::from(theirs.lower));
    }
}
