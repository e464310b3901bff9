//! Text for a terminal of some width.

use std::io::{self, IsTerminal};

/// The width of the terminal, or 120 columns.
pub(super) fn terminal_width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.or_else(|| asked_width().filter(|_| io::stdout().is_terminal())).unwrap_or(120).max(80)
}

/// What the terminal itself says.
fn asked_width() -> Option<u16> {
    // SAFETY: a window size is plain numbers; all zeros is one.
    let mut size: libc::winsize = unsafe { core::mem::zeroed() };
    // SAFETY: `size` is a valid place for the answer.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col)
}

/// Sentences as wrapped paragraphs.
pub(super) fn paragraphs(sentences: &[String], width: u16) -> String {
    let mut text = String::new();
    for sentence in sentences {
        let mut column = 0;
        for word in sentence.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > usize::from(width) {
                text += "\n  ";
                column = 2;
            } else if column > 0 {
                text.push(' ');
                column += 1;
            }
            text += word;
            column += length;
        }
        text.push('\n');
    }
    text
}
