//! The plot: one row for each phase, one point for each engine, on a logarithmic scale on which cairn is 1.

use crate::report::{ENGINES, Medians, Rows};
use std::fmt::Write as _;

const COLOURS: [&str; 5] = ["#111111", "#d1495b", "#2e86ab", "#edae49", "#66a182"];
const ROW_PX: f64 = 22.0;
const LABEL_PX: f64 = 210.0;
const PANEL_PX: f64 = 360.0;
const GAP_PX: f64 = 40.0;
const TOP_PX: f64 = 84.0;
/// The scale goes from one part in this to this many times, as powers of two.
const POWER_MAX: f64 = 5.0;

/// The plot as a document of its own.
pub fn svg(rows: &Rows) -> String {
    let height = TOP_PX + rows.len() as f64 * ROW_PX + 24.0;
    let width = LABEL_PX + 2.0 * PANEL_PX + 2.0 * GAP_PX;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut out);
    panel(&mut out, rows, LABEL_PX, "throughput, cairn = 1 (left: slower than cairn)", |figures| {
        figures.per_second
    });
    let second = LABEL_PX + PANEL_PX + GAP_PX;
    panel(&mut out, rows, second, "processor time per operation, cairn = 1 (right: costs more)", |figures| {
        figures.cpu_us
    });
    for (index, (name, ..)) in rows.iter().enumerate() {
        text(&mut out, LABEL_PX - 12.0, row_y(index) + 4.0, "end", name);
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    for (index, engine) in ENGINES.iter().enumerate() {
        let x = LABEL_PX + index as f64 * 90.0;
        circle(out, x, 20.0, COLOURS[index], engine);
        text(out, x + 10.0, 24.0, "start", engine);
    }
}

fn panel(out: &mut String, rows: &Rows, left: f64, title: &str, of: fn(&Medians) -> f64) {
    let x = |ratio: f64| {
        left + PANEL_PX * (ratio.log2().clamp(-POWER_MAX, POWER_MAX) + POWER_MAX) / (2.0 * POWER_MAX)
    };
    let bottom = row_y(rows.len()) - ROW_PX / 2.0;
    text(out, left + PANEL_PX / 2.0, 50.0, "middle", title);
    for power in -5..=5 {
        let ratio = 2f64.powi(power);
        let label = if power < 0 { format!("1/{}", 1 << -power) } else { format!("{}", 1 << power) };
        let colour = if power == 0 { "#111111" } else { "#dddddd" };
        line(out, (x(ratio), TOP_PX - 12.0), (x(ratio), bottom), colour);
        text(out, x(ratio), TOP_PX - 16.0, "middle", &label);
    }
    for (index, (name, engines, _)) in rows.iter().enumerate() {
        let Some(ours) = engines.get(ENGINES[0]).map(of) else { continue };
        line(out, (left, row_y(index)), (left + PANEL_PX, row_y(index)), "#f0f0f0");
        for (engine, colour) in ENGINES.iter().zip(COLOURS) {
            if let Some(figures) = engines.get(*engine) {
                let title = format!("{name}, {engine}: {:.3}", of(figures));
                circle(out, x(of(figures) / ours), row_y(index), colour, &title);
            }
        }
    }
}

fn row_y(index: usize) -> f64 {
    TOP_PX + (index as f64 + 0.5) * ROW_PX
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _infallible = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _infallible = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn circle(out: &mut String, x: f64, y: f64, colour: &str, title: &str) {
    let _infallible = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{title}</title></circle>"
    );
}
