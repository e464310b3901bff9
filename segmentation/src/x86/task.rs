//! Task states: the stacks that the CPU takes on a change of privilege (SDM 3A, 8.2.1 and 8.7).
#![forbid(unsafe_code)]

/// A task state of 64-bit mode, 104 bytes.
///
/// ```text
///   0 reserved │ 4 RSP0..2 │ 28 reserved │ 36 IST1..7 │ 92 reserved │ 102 start of the I/O permission map
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct Tss64 {
    reserved_0: u32,
    /// The stacks for entries to rings 0, 1 and 2.
    pub stacks: [u64; 3],
    reserved_28: u64,
    /// The stacks 1 to 7 that gates of the interrupt table may name, at index 0 to 6.
    pub interrupt_stacks: [u64; 7],
    reserved_92: u64,
    reserved_100: u16,
    /// Where the I/O permission map begins, in bytes from the task state; past the limit means that there is none.
    pub io_map: u16,
}

impl Tss64 {
    /// No stacks and no I/O permission map.
    pub const EMPTY: Self = Self {
        reserved_0: 0,
        stacks: [0; 3],
        reserved_28: 0,
        interrupt_stacks: [0; 7],
        reserved_92: 0,
        reserved_100: 0,
        io_map: 104,
    };

    /// The last offset, for its descriptor, if nothing follows it.
    pub const LAST: u32 = 103;
}

const _: () = assert!(size_of::<Tss64>() == 104);

/// A 32-bit task state, 104 bytes. A system that does not switch tasks by hardware uses `esp0`, `ss0` and `io_map` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "the names of the registers say it")]
pub struct Tss32 {
    /// The task that was left, for a nested task.
    pub link: u32,
    pub esp0: u32,
    pub ss0: u32,
    pub esp1: u32,
    pub ss1: u32,
    pub esp2: u32,
    pub ss2: u32,
    pub cr3: u32,
    pub eip: u32,
    pub eflags: u32,
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI.
    pub general: [u32; 8],
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [u32; 6],
    pub ldt: u32,
    /// Bit 0 raises a debug exception on a switch to the task.
    pub trap: u16,
    /// Where the I/O permission map begins, in bytes from the task state; past the limit means that there is none.
    pub io_map: u16,
}

const _: () = assert!(size_of::<Tss32>() == 104);
