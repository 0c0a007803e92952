//! The plot: a bar for each system, mode and number of clients, once for throughput and once for processor time.

use crate::results::{CLIENTS, Results};
use cairn_benches::svg::Svg;
use cairn_benches::table::Summary;

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
    let mut out = Svg::new(width, height);
    let mut legend_x = LABEL_PX;
    for (system, colour) in SYSTEMS {
        out.rect((legend_x, 10.0), (12.0, BAR_PX - 2.0), colour);
        out.label((legend_x + 18.0, 20.0), "start", system);
        legend_x += 80.0;
    }
    out.label((LABEL_PX, 46.0), "start", "operations per second (longer is better)");
    panel(&mut out, results, &groups, LABEL_PX, |summary| summary.operations_per_s);
    let second = LABEL_PX + PANEL_PX + FIGURE_PX;
    out.label((second, 46.0), "start", "processor time per operation, µs, three nodes (shorter is better)");
    panel(&mut out, results, &groups, second, |summary| summary.cpu_us);
    let mut top = TOP_PX;
    for ((_, mode), clients) in groups {
        out.label((LABEL_PX - 8.0, top + BAR_PX + 4.0), "end", &format!("{mode}, {clients}"));
        top += group_px;
    }
    out.finish()
}

fn panel(
    out: &mut Svg,
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
                out.rect((left, top), (width, BAR_PX - 2.0), colour);
                out.label((left + width + 4.0, top + BAR_PX - 3.0), "start", &format!("{figure:.0}"));
            }
            top += BAR_PX;
        }
        top += GROUP_GAP_PX;
    }
}
