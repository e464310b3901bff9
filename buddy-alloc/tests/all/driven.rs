//! Engines as the test kit's model wants them: for the replay of the corpus and for the fuzz target.

use hectare_buddy::{Banks, Engine, Frames, Geometry, Rows4, Rows32, Rows64, Word, words_for};
use hectare_core::{CheckInvariants, DirectMap, Figures, Frame, FrameRun, Violation};
use hectare_testkit::drive::FrameModel;
use hectare_testkit::fuzz;

/// How many kinds of engines there are.
pub(crate) const KINDS: usize = 6;

/// Drives the engine of this kind with the operations in the bytes.
///
/// # Panics
/// It broke a rule.
pub(crate) fn drive(kind: usize, bytes: &[u8]) {
    // One bank that begins inside a row, or two with a hole between them.
    let one: &[(u64, u64)] = &[(5, 300)];
    let two: &[(u64, u64)] = &[(64, 70), (150, 129)];
    match kind {
        0 => rows::<Rows64>(one, bytes),
        1 => rows::<Rows32>(one, bytes),
        2 => rows::<Rows4>(one, bytes),
        3 => rows::<Rows64>(two, bytes),
        4 => rows::<Rows32>(two, bytes),
        _ => rows::<Rows4>(two, bytes),
    }
}

fn rows<G: Geometry>(banks: &[(u64, u64)], bytes: &[u8]) {
    let run = |(first, count): &(u64, u64)| FrameRun::new(Frame::new(*first), *count).expect("a run");
    let banks: Vec<_> = banks.iter().map(run).collect();
    let mut places = [None; 2];
    let mut table = Banks::new(&mut places);
    banks.iter().for_each(|bank| table.add(*bank).expect("a place"));
    let words = words_for::<G>(table.span().expect("frames")).expect("few words");
    let mut words = vec![G::Word::ONE; words];
    let engine = Engine::<G>::new(table, &mut words).expect("an engine");
    // SAFETY: no window shows the frames: nobody writes to them.
    let source = unsafe { Frames::<G>::new(engine) };
    let sound = |source: &Frames<'_, G>| source.engine().check_invariants();
    let all_free = |source: &Frames<'_, G>| {
        let used = source.engine().usage().allocated;
        Violation::unless(used == 0, "every frame is free", used)
    };
    let model = FrameModel::new(source, &banks, None::<DirectMap>);
    fuzz::frames(model.taking_parts().complete().checking(sound, all_free), bytes);
}

#[cfg(test)]
mod tests {
    /// What the fuzz target once found is among the cases.
    #[test]
    #[cfg_attr(miri, ignore = "minutes long when interpreted, and it looks for no undefined behaviour")]
    fn the_frames_corpus_passes() {
        for (name, bytes) in hectare_testkit::fuzz::corpus("frames") {
            println!("{name}");
            (0..super::KINDS).for_each(|kind| super::drive(kind, &bytes));
        }
    }
}
