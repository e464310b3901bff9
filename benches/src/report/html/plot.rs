//! Plots as HTML: bars, curves, points. Lines are SVG stretched to the page; text is HTML laid over it, so that it stays
//! legible on a phone.
#![forbid(unsafe_code)]

use core::fmt::Write;

use super::escape;

/// Who a bar, a curve or a point belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) name: &'static str,
    pub(crate) color: usize,
    pub(crate) ours: bool,
}

impl Who {
    fn data(self) -> String {
        format!("data-a=\"{}\"", escape(self.name))
    }
}

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) who: Who,
    /// `None`: only the text.
    pub(crate) value: Option<f64>,
    pub(crate) text: String,
    /// The value is only a lower bound.
    pub(crate) cut: bool,
    /// A line of text that is drawn above.
    pub(crate) heading: Option<&'static str>,
}

/// Horizontal bars. Values above six times the median are cut short, so that the rest stays visible.
pub(crate) fn bars(bars: &[Bar]) -> String {
    let mut values: Vec<f64> = bars.iter().filter(|bar| !bar.cut).filter_map(|bar| bar.value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(1.0);
    let top = values.last().copied().unwrap_or(1.0).min(middle * 6.0);
    let mut html = String::from("<div class=bars>");
    for bar in bars {
        if let Some(heading) = bar.heading {
            let _ = write!(html, "<div class=sep>{heading}</div>");
        }
        let ours = if bar.who.ours { " ours" } else { "" };
        let data = bar.who.data();
        let _ = write!(
            html,
            "<div class=\"who{ours}\" {data}>{}</div><div class=track {data}>",
            escape(bar.who.name)
        );
        if let Some(value) = bar.value {
            let cut = if bar.cut || value > top * 1.001 { " class=cut" } else { "" };
            let width = (value / top * 100.0).min(100.0);
            let _ = write!(
                html,
                "<i{cut} style=\"width:{width:.2}%;background-color:var(--c{})\"></i>",
                bar.who.color
            );
        }
        let _ = write!(html, "</div><div class=val {data}>{}</div>", bar.text);
    }
    html + "</div>"
}

/// An axis: which values lie at 0 and 1, and where text stands.
#[derive(Debug)]
pub(crate) struct Axis {
    from: f64,
    to: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to `to` bytes, with about four ticks at powers of two or half of one between them.
    pub(crate) fn bytes(to: f64, text: impl Fn(f64) -> String) -> Self {
        let power = (to / 4.0).max(1.0).log2().floor().exp2();
        let step =
            [power, power * 1.5, power * 2.0].into_iter().find(|step| to / step < 4.5).unwrap_or(power * 2.0);
        Self::with_step(to, step, text)
    }

    /// From 0 to `to`, with about four ticks at round values.
    pub(crate) fn linear(to: f64, text: impl Fn(f64) -> String) -> Self {
        let raw = (to / 4.0).max(f64::MIN_POSITIVE);
        let magnitude = 10_f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|s| *s >= raw).unwrap_or(raw);
        Self::with_step(to, step, text)
    }

    /// From 0 to `to`, with ticks at multiples of `step`.
    pub(crate) fn with_step(to: f64, step: f64, text: impl Fn(f64) -> String) -> Self {
        let ticks = (0..=40).map(|i| f64::from(i) * step).take_while(|tick| *tick <= to * 1.0001);
        Self { from: 0.0, to, log: false, ticks: ticks.map(|tick| (tick, text(tick))).collect() }
    }

    /// A logarithmic axis with these ticks.
    pub(crate) fn log(from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        let ticks =
            ticks.into_iter().filter(|(tick, _)| *tick >= from * 0.999 && *tick <= to * 1.001).collect();
        Self { from, to, log: true, ticks }
    }

    /// A linear axis over any range.
    pub(crate) fn range(from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { from, to, log: false, ticks }
    }

    /// The axis with other ticks.
    pub(crate) fn with_ticks(self, ticks: impl IntoIterator<Item = (f64, String)>) -> Self {
        Self { ticks: ticks.into_iter().collect(), ..self }
    }

    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }
}

/// A curve.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) who: Option<Who>,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves; one without an owner is drawn as an area below.
pub(crate) fn curves(x: &Axis, y: &Axis, curves: &[Curve], low: bool) -> String {
    let mut svg = String::from("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=none role=img>");
    for (tick, _) in &y.ticks {
        let at = 1000.0 * (1.0 - y.place(*tick));
        let _ = write!(svg, "<line class=g x1=0 x2=1000 y1={at:.1} y2={at:.1} />");
    }
    for curve in curves {
        let point = |&(px, py): &(f64, f64)| {
            format!("{:.1} {:.1}", 1000.0 * x.place(px), 1000.0 * (1.0 - y.place(py).clamp(-0.1, 1.4)))
        };
        let path = curve.points.iter().map(point).collect::<Vec<_>>().join("L");
        match curve.who {
            None => {
                let _ = write!(svg, "<path class=area d=\"M0 1000L{path}L1000 1000Z\"/>");
            }
            Some(who) => {
                let ours = if who.ours { " o" } else { "" };
                let (data, color, name) = (who.data(), who.color, escape(who.name));
                let style = format!("stroke:var(--c{color})");
                let _ = write!(
                    svg,
                    "<path class=\"s{ours}\" {data} style=\"{style}\" d=\"M{path}\"><title>{name}</title></path>"
                );
            }
        }
    }
    let class = if low { "plot low" } else { "plot" };
    format!("<div class=\"{class}\">{svg}</svg>{}</div>", labels(x, y))
}

/// Named points.
pub(crate) fn points(x: &Axis, y: &Axis, points: &[(Who, f64, f64)]) -> String {
    let mut html = String::from("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=none role=img>");
    for (axis, vertical) in [(y, false), (x, true)] {
        for (tick, _) in &axis.ticks {
            let at = 1000.0 * axis.place(*tick);
            let line = if vertical {
                format!("x1={at:.1} x2={at:.1} y1=0 y2=1000")
            } else {
                format!("x1=0 x2=1000 y1={0:.1} y2={0:.1}", 1000.0 - at)
            };
            let _ = write!(html, "<line class=g {line} />");
        }
    }
    html += "</svg>";
    for (who, px, py) in points {
        let (left, top) = (100.0 * x.place(*px), 100.0 * (1.0 - y.place(*py)));
        let (data, style) = (who.data(), format!("left:{left:.2}%;top:{top:.2}%"));
        let side = if left > 70.0 { " left" } else { "" };
        let weight = if who.ours { ";font-weight:650;color:var(--accent)" } else { "" };
        let _ =
            write!(html, "<span class=dot {data} style=\"{style};background:var(--c{})\"></span>", who.color);
        let _ = write!(
            html,
            "<span class=\"tag{side}\" {data} style=\"{style}{weight}\">{}</span>",
            escape(who.name)
        );
    }
    format!("<div class=plot style=\"height:340px\">{html}{}</div>", labels(x, y))
}

fn labels(x: &Axis, y: &Axis) -> String {
    let mut html = String::new();
    for (tick, text) in &y.ticks {
        let _ =
            write!(html, "<span class=y style=\"top:{:.2}%\">{text}</span>", 100.0 * (1.0 - y.place(*tick)));
    }
    for (tick, text) in &x.ticks {
        let at = 100.0 * x.place(*tick);
        let edge = if at < 1.0 {
            " first"
        } else if at > 96.0 {
            " last"
        } else {
            ""
        };
        let _ = write!(html, "<span class=\"x{edge}\" style=\"left:{at:.2}%\">{text}</span>");
    }
    html
}
