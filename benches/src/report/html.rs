//! The report: one HTML page that needs nothing else, light or dark, on a desk or a phone.
#![forbid(unsafe_code)]

use core::fmt::Write;

mod machine;
mod method;
pub(crate) mod plot;
mod summary;
mod trace;

pub use machine::Machine;

use crate::heap::{Class, Plan, Row, TraceResult};
use plot::Who;

/// One kind of traces on the page.
#[derive(Debug)]
pub struct Chapter {
    /// The page's title, if this is its only chapter.
    pub title: &'static str,
    /// What the links to its sections say, each with the section's name.
    pub links: Vec<(String, String)>,
    /// The head: the choice, and everyone at one glance.
    pub head: String,
    /// The sections.
    pub body: String,
}

/// The page.
#[must_use]
pub fn page(chapters: &[Chapter], machine: &Machine) -> String {
    let title = match chapters {
        [only] => only.title,
        _ => "Which allocator?",
    };
    let mut html = String::from("<!doctype html><html lang=en><head><meta charset=utf-8>");
    html += "<meta name=viewport content=\"width=device-width,initial-scale=1\">";
    let _ = write!(html, "<title>{title}</title>");
    let _ = write!(html, "<style>{}</style></head><body>", include_str!("html/style.css"));
    for (index, chapter) in chapters.iter().enumerate() {
        html += &chapter.head;
        if index == 0 {
            html += "<nav aria-label=Traces><div>";
            for (name, text) in chapters.iter().flat_map(|chapter| &chapter.links) {
                let _ = write!(html, "<a href=\"#{}\">{}</a>", escape(name), escape(text));
            }
            html += "</div></nav>";
        }
        let _ = write!(html, "<main>{}</main>", chapter.body);
    }
    let _ = write!(html, "<footer>Written by <code>compare</code> of Hectare on {}.</footer>", machine.date);
    let _ = write!(html, "<script>{}</script></body></html>", include_str!("html/script.js"));
    html
}

/// The heap's chapter.
#[must_use]
pub fn heap_chapter(results: &[TraceResult], machine: &Machine, plan: &Plan) -> Chapter {
    let mut links: Vec<(String, String)> =
        results.iter().map(|result| (result.name.clone(), result.name.clone())).collect();
    links.push(("method".into(), "How it was measured".into()));
    let mut body = legend(results);
    for result in results {
        body += &trace::section(result);
    }
    body += &method::method(machine, plan);
    Chapter { title: "Which heap allocator?", links, head: summary::summary(results, machine), body }
}

/// The allocators with their colours; a click hides or shows one everywhere.
fn legend(results: &[TraceResult]) -> String {
    let Some(result) = results.first() else { return String::new() };
    let mut html = String::from("<div class=legend role=group aria-label=\"Allocators shown\">");
    for (index, row) in result.rows.iter().enumerate() {
        if row.allocator.class == Class::Baseline {
            continue;
        }
        let (who, name) = (who(row, index), escape(row.allocator.name));
        let dot = format!("<b style=\"background:var(--c{})\"></b>", who.color);
        let _ = write!(html, "<button type=button data-a=\"{name}\" aria-pressed=true>{dot}{name}</button>");
    }
    html + "</div><p class=note>A click hides an allocator in every chart.</p>"
}

/// A row's name and colour: two greens for our first two, one of nine for each policy and peer, grey for the empty loop.
fn who(row: &Row, index: usize) -> Who {
    let (name, ours) = (row.allocator.name, row.allocator.is_ours());
    let before =
        crate::heap::ALLOCATORS.iter().take_while(|a| a.name != name).filter(|a| a.is_ours() == ours).count();
    let color = match row.allocator.class {
        Class::Baseline => 11,
        _ if ours && before < 2 => before,
        _ => 2 + before % 9,
    };
    debug_assert!(index < usize::MAX);
    Who { name, color, ours }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(escape("a<b>&\"c"), "a&lt;b&gt;&amp;&quot;c");
    }
}
