//! Segments, task states and interrupts, with the descriptors of `hectare-segmentation`.
//!
//! ```text
//!   GDT: null, kernel code, kernel data, user data, user code, a task state for each CPU
//!   the task register says which CPU this is
//! ```
use core::arch::asm;
use core::cell::UnsafeCell;

use hectare_segmentation::x86::{
    DescriptorTable, GateKind, LongGate, LongSystem, Ring, SegmentDescriptor, Selector, SelectorTable, Tss64,
};
use spin::Once;

use super::traps::{CALL, VECTORS, vector_address};
use crate::cpus::CPUS;

const KERNEL_CODE: u16 = 0x08;
const FIRST_TASK: u16 = 0x28;
const TASK_BYTES: u16 = 16;
pub const USER_DATA: u16 = 0x18 | 3;
pub const USER_CODE: u16 = 0x20 | 3;

/// What the CPU reads and writes behind the compiler's back.
#[repr(C, align(64))]
pub struct Shared<T>(UnsafeCell<T>);

// SAFETY: each user of a value says who writes it and when.
unsafe impl<T> Sync for Shared<T> {}

static TASKS: [Shared<Tss64>; CPUS] = [const { Shared(UnsafeCell::new(Tss64::EMPTY)) }; CPUS];
static GLOBAL: Once<DescriptorTable<16>> = Once::new();
static INTERRUPTS: Once<[[u64; 2]; VECTORS]> = Once::new();

/// This CPU's number, from its task register; 0 before that is loaded.
#[inline(always)]
pub fn cpu() -> usize {
    let selector: u64;
    // SAFETY: reads a register.
    unsafe { asm!("str {}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    (selector as usize).saturating_sub(FIRST_TASK as usize) / TASK_BYTES as usize
}

/// Loads the tables, as CPU number `cpu`.
///
/// # Safety
/// No other CPU has this number.
pub unsafe fn load(cpu: usize) {
    let global = GLOBAL.call_once(global_table);
    let interrupts = INTERRUPTS.call_once(interrupt_table);
    let global_pointer = Pointer { limit: global.limit(), base: global.entries().as_ptr().addr() as u64 };
    let interrupt_pointer =
        Pointer { limit: size_of_val(interrupts) as u16 - 1, base: interrupts.as_ptr().addr() as u64 };
    // SAFETY: (1) the tables live for ever; (2) the selectors are those of the table; (3) the number is ours alone, so
    // that the task state is not busy.
    unsafe {
        asm!(
            "lgdt [{global}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2: mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "xor {scratch:e}, {scratch:e}",
            "mov fs, {scratch:e}",
            "mov gs, {scratch:e}",
            "lidt [{interrupts}]",
            "ltr {task:x}",
            global = in(reg) &raw const global_pointer,
            interrupts = in(reg) &raw const interrupt_pointer,
            code = in(reg) u64::from(KERNEL_CODE),
            data = in(reg) 0x10_u64,
            task = in(reg) FIRST_TASK + TASK_BYTES * cpu as u16,
            scratch = out(reg) _,
        )
    };
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn global_table() -> DescriptorTable<16> {
    let mut table = DescriptorTable::global();
    for segment in [
        SegmentDescriptor::code64(Ring::Ring0),
        SegmentDescriptor::flat_data(Ring::Ring0),
        SegmentDescriptor::flat_data(Ring::Ring3),
        SegmentDescriptor::code64(Ring::Ring3),
    ] {
        table.push(segment).expect("room");
    }
    for task in &TASKS {
        let state =
            LongSystem::tss(task.0.get().addr() as u64, size_of::<Tss64>() as u32 - 1).expect("long enough");
        table.push_long_system(state).expect("room");
    }
    table
}

fn interrupt_table() -> [[u64; 2]; VECTORS] {
    let code = Selector::new(KERNEL_CODE / 8, SelectorTable::Global, Ring::Ring0).expect("a small index");
    core::array::from_fn(|vector| {
        let offset = vector_address(vector);
        let ring = if vector == CALL as usize { Ring::Ring3 } else { Ring::Ring0 };
        let kind = GateKind::Interrupt;
        LongGate { offset, selector: code, kind, ring, present: true, stack: 0 }
            .encode()
            .expect("an interrupt gate")
    })
}

/// Where this CPU finds the kernel's stack when it leaves a program.
pub fn kernel_stack() -> *mut u64 {
    let task = TASKS[cpu()].0.get();
    // SAFETY: the field is inside the task state.
    unsafe { (&raw mut (*task).stacks).cast() }
}
