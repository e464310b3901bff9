//! Tables of this crate under a walker of somebody else's: KVM, where the machine has it. Elsewhere the tests say so and
//! pass.
//!
//! ```text
//!   KVM_TRANSLATE  every x86 format: the address that a walk gives
//!   KVM_RUN        x86-64: loads, stores and fetches by kernel and program, on tables that change in between:
//!                  faults with their codes, accessed and dirty bits
//! ```
//! Under a hypervisor that shadows guest tables, a translation that was not invalidated stays in use, as in a TLB.

#![expect(unsafe_code, reason = "speaks to the kernel, reads the guest's memory")]

use core::cell::RefCell;
use core::ffi::c_ulong;
use core::ptr::{NonNull, null_mut};
use std::rc::Rc;

use hectare_core::{Access, AccessKind, Frame, FrameRequest, FrameRun, FrameSource, Order, Page, PageRun};
use hectare_core::{Permissions, PhysAddr, PhysWindow, Privilege, VirtAddr};
use hectare_paging::format::{Pae, X86, X86_64};
use hectare_paging::table::{Invalidation, MapOptions, NotLoaded, Tlb};
use hectare_paging::{Attributes, PageTable, TableFormat, Touched};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

const FIRST: u64 = 0x200;
const FRAMES: u64 = 1536;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TableRegister {
    base: u64,
    limit: u16,
    padding: [u16; 3],
}

/// `kvm_sregs`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct System {
    cs: Segment,
    ds: Segment,
    es: Segment,
    fs: Segment,
    gs: Segment,
    ss: Segment,
    tr: Segment,
    ldt: Segment,
    gdt: TableRegister,
    idt: TableRegister,
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// `kvm_regs`: rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip, rflags.
type Registers = [u64; 18];
const RAX: usize = 0;
const RSI: usize = 4;
const RSP: usize = 6;
const RIP: usize = 16;
const RFLAGS: usize = 17;

#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    host: u64,
}

#[repr(C)]
#[derive(Default)]
struct Walk {
    linear: u64,
    physical: u64,
    valid: u8,
    writeable: u8,
    user: u8,
    padding: [u8; 5],
}

const CREATE_VM: c_ulong = 0xAE01;
const RUN_SIZE: c_ulong = 0xAE04;
const CREATE_CPU: c_ulong = 0xAE41;
const SET_MEMORY: c_ulong = 0x4020_AE46;
const RUN: c_ulong = 0xAE80;
const GET_REGISTERS: c_ulong = 0x8090_AE81;
const SET_REGISTERS: c_ulong = 0x4090_AE82;
const GET_SYSTEM: c_ulong = 0x8138_AE83;
const SET_SYSTEM: c_ulong = 0x4138_AE84;
const TRANSLATE: c_ulong = 0xC018_AE85;

/// A virtual machine with one processor, whose memory are the frames of a plain source.
struct Machine {
    files: Vec<i32>,
    cpu: i32,
    shared: NonNull<u8>,
    memory: ArenaWindow,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for file in self.files.iter().rev() {
            // SAFETY: a file of this machine, closed once.
            unsafe { libc::close(*file) };
        }
    }
}

fn ioctl<T>(file: i32, request: c_ulong, argument: *mut T) -> Option<i32> {
    // SAFETY: the argument is the structure that the request names, or a number.
    let result = unsafe { libc::ioctl(file, request, argument) };
    (result >= 0).then_some(result)
}

impl Machine {
    /// `None` where there is no KVM.
    fn new(source: &PlainFrames) -> Option<Self> {
        // SAFETY: a terminated path.
        let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if kvm < 0 {
            println!("SKIPPED: no access to /dev/kvm");
            return None;
        }
        let vm = ioctl(kvm, CREATE_VM, null_mut::<u8>()).expect("a virtual machine");
        let memory = source.window();
        let cpu = ioctl(vm, CREATE_CPU, null_mut::<u8>()).expect("a processor");
        let bytes = ioctl(kvm, RUN_SIZE, null_mut::<u8>()).expect("a size");
        let (flags, bytes) = (libc::PROT_READ | libc::PROT_WRITE, usize::try_from(bytes).expect("a size"));
        // SAFETY: a new mapping, of the processor's file.
        let shared = unsafe { libc::mmap(null_mut(), bytes, flags, libc::MAP_SHARED, cpu, 0) };
        let shared = NonNull::new(shared.cast()).expect("a mapping");
        let machine = Self { files: vec![kvm, vm, cpu], cpu, shared, memory };
        machine.give_memory(FRAMES << 12);
        Some(machine)
    }

    fn give_memory(&self, size: u64) {
        let guest = FIRST << 12;
        let host = self.memory.pointer(PhysAddr::new(guest), FRAMES << 12).expect("all frames").addr().get();
        let mut region = Region { slot: 0, flags: 0, guest, size, host: host as u64 };
        ioctl(self.files[1], SET_MEMORY, &raw mut region).expect("memory");
    }

    /// Takes the memory away and gives it back.
    fn forget(&self) {
        self.give_memory(0);
        self.give_memory(FRAMES << 12);
    }

    fn system(&self) -> System {
        let mut system = System::default();
        ioctl(self.cpu, GET_SYSTEM, &raw mut system).expect("system registers");
        system
    }

    fn registers(&self) -> Registers {
        let mut registers = Registers::default();
        ioctl(self.cpu, GET_REGISTERS, registers.as_mut_ptr()).expect("registers");
        registers
    }

    fn translate(&self, address: VirtAddr) -> Option<u64> {
        let mut walk = Walk { linear: address.value(), ..Walk::default() };
        ioctl(self.cpu, TRANSLATE, &raw mut walk).expect("a translation");
        (walk.valid != 0).then_some(walk.physical)
    }

    /// The port that the guest wrote to.
    fn run(&self) -> u16 {
        ioctl(self.cpu, RUN, null_mut::<u8>()).expect("a run");
        let read = |offset: usize| {
            // SAFETY: inside the processor's shared page.
            let pointer = unsafe { self.shared.add(offset) };
            // SAFETY: `kvm_run`: the exit reason is a word at 8; of an access to a port, the port is at 34.
            unsafe { pointer.cast::<u16>().read() }
        };
        assert_eq!(read(8), 2, "the guest stops by writing to a port; {:#x?}", self.registers());
        read(34)
    }

    fn bytes(&self, at: u64, bytes: &[u8]) {
        let pointer = self.memory.pointer(PhysAddr::new(at), bytes.len() as u64).expect("guest memory");
        // SAFETY: inside the guest's memory, which does not run now.
        unsafe { pointer.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn word(&self, at: u64) -> u64 {
        // SAFETY: an aligned word of the guest's memory, which does not run now.
        unsafe { self.memory.pointer(PhysAddr::new(at), 8).expect("guest memory").cast().read() }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// One change of the 1024 pages from `base` on; the frames are those of `data`, 512 in a row.
fn change<F: TableFormat, W: hectare_paging::table::TableWindow, S: FrameSource>(
    table: &mut PageTable<F, W, S>,
    tlb: &impl Tlb,
    base: u64,
    data: Frame,
    random: &mut Random,
) {
    let first = random.below(1024);
    let count = [1, 1 + random.below(4), 1 + random.below(512), 512][random.below(4) as usize];
    let first = if count == 512 { first & !511 } else { first };
    let pages = PageRun::new(Page::new(base + first), count.min(1024 - first)).expect("a run");
    let sets =
        [Permissions::READ, Permissions::READ | Permissions::WRITE, Permissions::READ | Permissions::EXECUTE];
    let user = if random.below(2) == 0 { Permissions::USER } else { Permissions::empty() };
    let attributes = F::nearest(Attributes::new(sets[random.below(3) as usize] | user));
    match random.below(6) {
        0..3 => {
            let shift = if random.below(2) == 0 { first % 512 } else { random.below(512) };
            let count = pages.count().min(512 - shift);
            let frames = FrameRun::new(data.checked_add(shift).expect("a frame"), count).expect("a run");
            if let Ok(fresh) = table.map(pages.first(), frames, attributes, MapOptions::DEFAULT) {
                fresh.finish(tlb);
            }
        }
        3 => {
            let token = table.unmap(pages, |_| ()).expect("frames for a split");
            table.finish(token, tlb).expect("its own token");
        }
        4 => {
            let token = table.protect(pages, attributes.permissions).expect("frames for a split");
            table.finish(token, tlb).expect("its own token");
        }
        _ => {
            let token = table.harvest(pages, Touched::DIRTY, |_| ()).expect("frames for a split");
            table.finish(token, tlb).expect("its own token");
        }
    }
}

/// KVM's walker finds what the table finds, after each of many changes.
fn translates<F: TableFormat>(base: u64, cr4: u64, efer: u64) {
    let mut source = PlainFrames::new(FIRST, FRAMES);
    let Some(machine) = Machine::new(&source) else { return };
    let data = source.allocate_frames(FrameRequest::order(Order::new(9).unwrap())).expect("frames").first();
    let mut table = PageTable::<F, _, _>::new(machine.memory.clone(), source).expect("a root");
    let mut system = machine.system();
    (system.cr0, system.cr3, system.cr4, system.efer) = (0x8001_0033, table.root().value(), cr4, efer);
    let code =
        Segment { limit: u32::MAX, selector: 8, kind: 11, present: 1, s: 1, g: 1, ..Segment::default() };
    let long = u8::from(efer & 0x400 != 0);
    system.cs = Segment { l: long, db: 1 - long, ..code };
    let flat = Segment { selector: 16, kind: 3, db: 1, ..code };
    (system.ds, system.es, system.fs, system.gs, system.ss) = (flat, flat, flat, flat, flat);
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    // SAFETY: the processor never runs, and KVM_TRANSLATE walks anew each time.
    let tlb = unsafe { NotLoaded::new() };
    if ioctl(machine.cpu, SET_SYSTEM, &raw mut system).is_none()
        || machine.translate(VirtAddr::new(0x1234)).is_some()
    {
        println!("SKIPPED: KVM here does not walk {}", F::NAME);
        return;
    }
    for _ in 0..60 {
        change(&mut table, &tlb, base, data, &mut random);
        for _ in 0..48 {
            let page = base + random.below(1024);
            let address = VirtAddr::new((page << F::PAGE.log2()) + random.below(4096));
            let found = table.find(address).map(|hit| hit.address.value());
            assert_eq!(machine.translate(address), found, "{} at {address}", F::NAME);
        }
    }
}

#[test]
fn translations_are_those_of_kvm() {
    translates::<X86>(0x3FE00, 0x10, 0);
    translates::<Pae>(0x3FE00, 0x30, 0x800);
    translates::<X86_64<4>>(0x3_FE00, 0x20, 0xD00);
    translates::<X86_64<4>>(0xF_FFFF_FFF0_0000, 0x20, 0xD00);
    translates::<X86_64<5>>(0x80_0000_0000, 0x1020, 0xD00);
}

/// Where the guest's own pages are mapped.
const GUEST: u64 = 0x10_0000_0000;
const CODE: u64 = GUEST;
const SYSTEM: u64 = GUEST + 0x1000;
const STACK: u64 = GUEST + 0x2000;

/// Loads, stores and jumps, which end in an undefined instruction; the handlers of that and of page faults;
/// invalidations. Each ends with a write to a port that says which. (A program may not write to ports itself: not every
/// KVM honours the privilege level for that.)
const PROGRAM: [(u64, &[u8]); 5] = [
    (0x00, &[0x8A, 0x06, 0x0F, 0x0B]), // mov al, [rsi]; ud2
    (0x10, &[0x88, 0x06, 0x0F, 0x0B]), // mov [rsi], al; ud2
    (0x20, &[0xFF, 0xE6]),             // jmp rsi (to a page that begins with ud2)
    (0x30, &[0xE6, 0x10]),             // the handler of ud2: out 0x10, al
    (0x40, &[0xE6, 0x20]),             // the handler of page faults: out 0x20, al
];
/// Kernel code, kernel data, program data, program code, and the task state below.
const DESCRIPTORS: [u64; 5] =
    [0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0x00CF_F200_0000_FFFF, 0x00AF_FA00_0000_FFFF];
/// Where they, the gates and the task state stand in the system page.
const GDT: u64 = 0;
const IDT: u64 = 0x100;
const TSS: u64 = 0x300;

/// The processor of a machine that runs on a table of ours.
#[derive(Clone)]
struct Guest(Rc<RefCell<(Machine, System)>>);

impl Guest {
    /// Runs a piece of the program with an address in RSI.
    fn call(&self, piece: u64, address: u64, privilege: Privilege) -> (u16, Registers) {
        let (machine, system) = &mut *self.0.borrow_mut();
        let user = privilege == Privilege::User;
        let dpl = if user { 3 } else { 0 };
        let data = Segment {
            limit: u32::MAX,
            selector: if user { 0x1B } else { 0x10 },
            kind: 3,
            present: 1,
            dpl,
            db: 1,
            s: 1,
            g: 1,
            ..Segment::default()
        };
        let code = Segment { selector: if user { 0x23 } else { 0x08 }, kind: 11, db: 0, l: 1, ..data };
        (system.cs, system.ds, system.es, system.fs, system.gs, system.ss) =
            (code, data, data, data, data, data);
        ioctl(machine.cpu, SET_SYSTEM, &raw mut *system).expect("long mode");
        let mut registers = Registers::default();
        registers[RAX] = 0x5A;
        registers[RSI] = address;
        registers[RSP] = STACK + 0x1000;
        registers[RIP] = CODE + piece;
        registers[RFLAGS] = 2;
        ioctl(machine.cpu, SET_REGISTERS, registers.as_mut_ptr()).expect("registers");
        (machine.run(), machine.registers())
    }
}

// SAFETY: KVM forgets all translations of memory that is taken away. (Invalidations by the guest would not do: a KVM that
// shadows tables re-reads only those which the guest itself wrote.)
unsafe impl Tlb for Guest {
    fn invalidate(&self, what: &Invalidation<'_>) {
        if !what.spans.is_empty() || what.everything || what.tables {
            self.0.borrow().0.forget();
        }
    }
}

#[test]
fn accesses_end_as_under_kvm() {
    let mut source = PlainFrames::new(FIRST, FRAMES);
    let Some(machine) = Machine::new(&source) else { return };
    let data = source.allocate_frames(FrameRequest::order(Order::new(9).unwrap())).expect("frames").first();
    let own = source.allocate_frames(FrameRequest::order(Order::new(2).unwrap())).expect("frames").first();
    let at = |nth: u64| (own.number() + nth) << 12;
    for (offset, code) in PROGRAM {
        machine.bytes(at(0) + offset, code);
    }
    for (nth, descriptor) in DESCRIPTORS.iter().enumerate() {
        machine.bytes(at(1) + GDT + 8 * nth as u64, &descriptor.to_le_bytes());
    }
    machine.bytes(at(1) + TSS + 4, &(STACK + 0x1000).to_le_bytes());
    for (vector, handler) in [(6, CODE + 0x30), (14, CODE + 0x40)] {
        let gate = handler & 0xFFFF | 8 << 16 | 0x8E00 << 32 | (handler >> 16 & 0xFFFF) << 48;
        machine.bytes(at(1) + IDT + vector * 16, &gate.to_le_bytes());
        machine.bytes(at(1) + IDT + vector * 16 + 8, &(handler >> 32).to_le_bytes());
    }
    for frame in data.number()..data.number() + 512 {
        machine.bytes(frame << 12, &[0x0F, 0x0B]);
    }
    let window = machine.memory.clone();
    let mut table = PageTable::<X86_64<4>, _, _>::new(window, source).expect("a root");
    let read = Permissions::READ;
    let own_rights = [
        read | Permissions::EXECUTE | Permissions::USER,
        read | Permissions::WRITE,
        read | Permissions::WRITE,
    ];
    for (nth, rights) in own_rights.into_iter().enumerate() {
        let nth = nth as u64;
        let frames = FrameRun::new(Frame::new(own.number() + nth), 1).unwrap();
        let page = Page::new((GUEST >> 12) + nth);
        let fresh = table.map(
            page,
            frames,
            Attributes::new(rights),
            MapOptions::DEFAULT.with_touched(Touched::DIRTY),
        );
        fresh.expect("a fresh table").later();
    }
    let mut system = machine.system();
    (system.cr0, system.cr3, system.cr4, system.efer) = (0x8001_0033, table.root().value(), 0x20, 0xD00);
    system.gdt = TableRegister { base: SYSTEM + GDT, limit: 39, padding: [0; 3] };
    system.idt = TableRegister { base: SYSTEM + IDT, limit: 0x1FF, padding: [0; 3] };
    system.tr = Segment {
        base: SYSTEM + TSS,
        limit: 0x67,
        selector: 0x28,
        kind: 11,
        present: 1,
        ..Segment::default()
    };
    let guest = Guest(Rc::new(RefCell::new((machine, system))));
    let (mut random, base) = (Random(0x0FED_CBA9_8765_4321), 0x4_0000);
    for half in [base, base + 512] {
        let frames = FrameRun::new(data, 512).unwrap();
        let attributes = Attributes::new(read | Permissions::WRITE | Permissions::USER);
        let fresh = table.map(Page::new(half), frames, attributes, MapOptions::DEFAULT);
        fresh.expect("frames for tables").finish(&guest);
    }
    let mut faults = 0;
    for _ in 0..80 {
        change(&mut table, &guest, base, data, &mut random);
        for _ in 0..12 {
            let page = Page::new(base + random.below(1024));
            let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::Execute];
            let kind = kinds[random.below(3) as usize];
            let privilege = if random.below(2) == 0 { Privilege::Kernel } else { Privilege::User };
            faults += u64::from(probe(&table, &guest, page, Access { kind, privilege }, at(2)));
        }
    }
    assert!((100..900).contains(&faults), "{faults} of 960 accesses fault: too few of one kind");
}

/// One access: it ends as the table says, and leaves the bits behind that it should. Whether it faulted.
fn probe(
    table: &PageTable<X86_64<4>, ArenaWindow, PlainFrames>,
    guest: &Guest,
    page: Page,
    access: Access,
    stack: u64,
) -> bool {
    let (piece, offset) = match access.kind {
        AccessKind::Read => (0x00, 0x100),
        AccessKind::Write => (0x10, 0x200),
        AccessKind::Execute => (0x20, 0),
    };
    let address = VirtAddr::new((page.number() << 12) + offset);
    let before = table.find(address);
    let (port, registers) = guest.call(piece, address.value(), access.privilege);
    let after = table.find(address);
    let context = format!("{access:?} at {address}: {before:x?}");
    let permitted = before.is_some_and(|hit| hit.attributes().permissions.allow(access));
    if permitted {
        assert_eq!(port, 0x10, "{context} is permitted");
        let touched = after.expect("still mapped").touched();
        assert!(
            touched.accessed && (touched.dirty || access.kind != AccessKind::Write),
            "{context}: {touched:?}"
        );
        let was = before.expect("mapped").touched();
        assert_eq!(touched.dirty, was.dirty || access.kind == AccessKind::Write, "{context}");
        return false;
    }
    assert_eq!(port, 0x20, "{context} is not permitted");
    let (machine, _) = &*guest.0.borrow();
    let error = machine.word(stack + registers[RSP] - STACK);
    let expected = u64::from(before.is_some())
        | u64::from(access.kind == AccessKind::Write) << 1
        | u64::from(access.privilege == Privilege::User) << 2
        | u64::from(access.kind == AccessKind::Execute) << 4;
    assert_eq!(error, expected, "the error code of {context}");
    assert_eq!(machine.system().cr2, address.value(), "{context}");
    assert_eq!(before.map(|hit| hit.touched().dirty), after.map(|hit| hit.touched().dirty), "{context}");
    true
}
