//! The report at the end of a program.

/// Runs when the program ends, after its own `atexit` functions.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_THE_END: extern "C" fn() = report;

/// Says how much is live, if `HECTARE_LEAKS` is set.
extern "C" fn report() {
    // SAFETY: a C string.
    let wanted = unsafe { libc::getenv(c"HECTARE_LEAKS".as_ptr()) };
    if wanted.is_null() {
        return;
    }
    // SAFETY: the program has ended: threads that still run would end with it, and the figures are for a person to read.
    let (blocks, bytes) = unsafe { hectare_slab::hosted::live() };
    let mut line = [0_u8; 96];
    let place = line.as_mut_ptr().cast();
    // SAFETY: a valid place of that length; a format and its arguments.
    let length = unsafe {
        libc::snprintf(
            place,
            line.len(),
            c"hectare: %zu blocks, %zu bytes not freed\n".as_ptr(),
            blocks,
            bytes,
        )
    };
    let length = usize::try_from(length).unwrap_or(0).min(line.len());
    // SAFETY: so many bytes were written; 2 is the standard error.
    unsafe { libc::write(2, line.as_ptr().cast(), length) };
}
