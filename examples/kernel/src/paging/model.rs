//! Random changes of live tables beside a model: after each, pages around it are touched by the kernel and by a program,
//! and must answer as the model says. What was touched before is in the translation caches: a missing flush shows.

use core::fmt::Write;

use hectare_core::{AccessKind, FrameRun, Permissions};

use super::{Ending, Fault, STAGE, Table, Users, give, map, pages, take, unmap, window};
use crate::arch::{self, Console};
use crate::check::Checks;
use crate::memory::FRAME;
use crate::random::Random;

const PAGES: usize = 64;
const ROUNDS: u64 = 3000;
/// The program's code is mapped behind the pages.
const CODE: u64 = STAGE + 0x100_0000;

#[derive(Clone, Copy)]
struct Mapped {
    frame: FrameRun,
    permissions: Permissions,
    value: u64,
}

pub fn stage(checks: &mut Checks, table: &mut Table) {
    let mut random = Random::new(7);
    let mut model: [Option<Mapped>; PAGES] = [None; PAGES];
    let code = arch::user_code();
    let text = super::frames(code.start, 1);
    map(table, CODE, text, super::KERNEL_TEXT | Permissions::USER);
    let (mut accesses, mut faults, mut wrong) = (0_u32, 0_u32, 0_u32);
    for round in 0..ROUNDS {
        let at = random.below(PAGES as u64) as usize;
        let address = STAGE + at as u64 * FRAME.bytes();
        let rights = [Permissions::READ, super::KERNEL_DATA][random.below(2) as usize];
        let rights = if random.below(2) == 0 { rights | Permissions::USER } else { rights };
        match (&mut model[at], random.below(3)) {
            (place @ None, _) => {
                let frame = take(0);
                // SAFETY: just taken.
                unsafe { window(frame.first()).write_volatile(round) };
                map(table, address, frame, rights);
                *place = Some(Mapped { frame, permissions: rights, value: round });
            }
            (place, 0) => {
                unmap(table, address, 1);
                place.take().into_iter().for_each(|mapped| give(mapped.frame));
            }
            (Some(mapped), 1) => {
                let token = table.protect(pages(address, 1), rights).expect("a base page is not split");
                table.finish(token, &Users).expect("its own token");
                mapped.permissions = rights;
            }
            (Some(mapped), _) => {
                // Another frame for the same page; the old one goes back last, so that it is not the same.
                let old = core::mem::replace(&mut mapped.frame, take(0));
                // SAFETY: just taken.
                unsafe { window(mapped.frame.first()).write_volatile(round) };
                unmap(table, address, 1);
                mapped.value = round;
                map(table, address, mapped.frame, mapped.permissions);
                give(old);
            }
        }
        for touched in [at, random.below(PAGES as u64) as usize] {
            let address = STAGE + touched as u64 * FRAME.bytes();
            let (user, kind) =
                (random.below(2) == 0, [AccessKind::Read, AccessKind::Write][random.below(2) as usize]);
            let (found, expected) =
                (touch(address, user, kind, round), answer(&mut model[touched], address, user, kind, round));
            accesses += 1;
            faults += u32::from(expected.is_err());
            if found != expected {
                wrong += 1;
                if wrong <= 3 {
                    let _ = writeln!(
                        Console,
                        "round {round}, {kind:?} at {address:#x}, program {user}: {found:x?}, model {expected:x?}"
                    );
                }
            }
        }
    }
    let _ = writeln!(Console, "model: {ROUNDS} changes, {accesses} accesses, {faults} faults, {wrong} wrong");
    checks.that(wrong == 0, "live tables answer as the model does");
    checks
        .that(faults > accesses / 10 && faults < accesses * 9 / 10, "there were faults, and not only faults");
    unmap(table, STAGE, PAGES as u64);
    unmap(table, CODE, 1);
    model.into_iter().flatten().for_each(|mapped| give(mapped.frame));
}

/// What the machine says.
fn touch(address: u64, user: bool, kind: AccessKind, value: u64) -> Result<u64, Fault> {
    let code = arch::user_code();
    let write = kind == AccessKind::Write;
    if user {
        let entry = if write { code.write } else { code.read };
        // SAFETY: the program reaches the stage's pages only.
        return match unsafe { arch::run_user(CODE + (entry - code.start), address, value) } {
            Ending::Call(value) => Ok(value),
            Ending::Fault(fault) => Err(fault),
        };
    }
    if write { arch::probe_write(address, value).map(|()| value) } else { arch::probe_read(address) }
}

/// What the model says.
fn answer(
    page: &mut Option<Mapped>,
    address: u64,
    user: bool,
    kind: AccessKind,
    value: u64,
) -> Result<u64, Fault> {
    let fault = Fault { address, kind };
    let mapped = page.as_mut().ok_or(fault)?;
    let right = if kind == AccessKind::Write { Permissions::WRITE } else { Permissions::READ };
    if !mapped.permissions.contains(right) || user && !mapped.permissions.contains(Permissions::USER) {
        return Err(fault);
    }
    if kind == AccessKind::Write {
        mapped.value = value;
    }
    Ok(mapped.value)
}
