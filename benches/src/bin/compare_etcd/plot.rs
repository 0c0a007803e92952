//! The plot: a bar for each system, mode and number of clients, once for throughput and once for processor time.

use crate::results::{CLIENTS, Results};
use cairn_benches::table::Summary;
use std::fmt::Write as _;

const SYSTEMS: [(&str, &str); 2] = [("etcd", "#2e86ab"), ("cairn", "#111111")];
const MODES: [(&str, &str); 3] = [("put", "puts"), ("get", "strong reads"), ("mixed", "mixed")];
const BAR_PX: f64 = 13.0;
const GROUP_GAP_PX: f64 = 10.0;
const LABEL_PX: f64 = 150.0;
const PANEL_PX: f64 = 300.0;
const FIGURE_PX: f64 = 70.0;
const TOP_PX: f64 = 60.0;

/// The plot as a document of its own.
pub(crate) fn svg(results: &Results) -> String {
    let groups: Vec<_> = MODES.iter().flat_map(|mode| CLIENTS.map(|clients| (*mode, clients))).collect();
    let group_px = BAR_PX * 2.0 + GROUP_GAP_PX;
    let height = groups.iter().fold(TOP_PX + 10.0, |height, _| height + group_px);
    let width = LABEL_PX + 2.0 * (PANEL_PX + FIGURE_PX);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut legend_x = LABEL_PX;
    for (system, colour) in SYSTEMS {
        rect(&mut out, (legend_x, 10.0), 12.0, colour);
        label(&mut out, (legend_x + 18.0, 20.0), "start", system);
        legend_x += 80.0;
    }
    label(&mut out, (LABEL_PX, 46.0), "start", "operations per second (longer is better)");
    panel(&mut out, results, &groups, LABEL_PX, |summary| summary.operations_per_s);
    let second = LABEL_PX + PANEL_PX + FIGURE_PX;
    label(
        &mut out,
        (second, 46.0),
        "start",
        "processor time per operation, µs, three nodes (shorter is better)",
    );
    panel(&mut out, results, &groups, second, |summary| summary.cpu_us);
    let mut top = TOP_PX;
    for ((_, mode), clients) in groups {
        label(&mut out, (LABEL_PX - 8.0, top + BAR_PX + 4.0), "end", &format!("{mode}, {clients}"));
        top += group_px;
    }
    out.push_str("</svg>\n");
    out
}

fn panel(
    out: &mut String,
    results: &Results,
    groups: &[((&str, &str), u32)],
    left: f64,
    figure: fn(&Summary) -> f64,
) {
    let of = |mode, clients, system| {
        results.summary("leader", mode, clients, system).map(|summary| figure(&summary))
    };
    let all =
        groups.iter().flat_map(|((mode, _), clients)| SYSTEMS.map(|(system, _)| of(mode, *clients, system)));
    let most = all.flatten().fold(1.0, f64::max);
    let mut top = TOP_PX;
    for ((mode, _), clients) in groups {
        for (system, colour) in SYSTEMS {
            if let Some(figure) = of(mode, *clients, system) {
                let width = PANEL_PX * figure / most;
                rect(out, (left, top), width, colour);
                label(out, (left + width + 4.0, top + BAR_PX - 3.0), "start", &format!("{figure:.0}"));
            }
            top += BAR_PX;
        }
        top += GROUP_GAP_PX;
    }
}

fn rect(out: &mut String, (x, y): (f64, f64), width: f64, colour: &str) {
    let height = BAR_PX - 2.0;
    writeln!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>")
        .expect("a string takes any text");
}

fn label(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
        .expect("a string takes any text");
}
