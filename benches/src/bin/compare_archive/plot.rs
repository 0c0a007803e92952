//! The plot: the share of commits that are in the bucket so long after their acknowledgement, and megabytes a second.

use crate::bulk::{Bulk, Moved};
use crate::lag::Lags;
use crate::section::Figures;
use cairn_benches::svg::Svg;

const CAIRN: &str = "#111111";
const COPY: &str = "#999999";
const LITESTREAM: &str = "#2e86ab";
const WIDTH_PX: f64 = 820.0;
const HEIGHT_PX: f64 = 260.0;
const TOP_PX: f64 = 60.0;
const BOTTOM_PX: f64 = 220.0;
const LEFT_PX: f64 = 60.0;
const PANEL_PX: f64 = 320.0;
const BARS_PX: f64 = 500.0;
const BAR_PX: f64 = 18.0;
const BAR_MAX_PX: f64 = 220.0;
/// The scale of lags ends here, in milliseconds.
const LAG_MAX_MS: u32 = 1_500;
const LAG_TICK_MS: u32 = 250;

/// The plot as a document of its own.
pub(crate) fn svg(figures: &Figures) -> String {
    let mut out = Svg::new(WIDTH_PX, HEIGHT_PX);
    let mut legend_x = LEFT_PX;
    for (name, colour) in [("cairn", CAIRN), ("a plain copy", COPY), ("Litestream", LITESTREAM)] {
        out.rect((legend_x, 10.0), (12.0, 11.0), colour);
        out.label((legend_x + 18.0, 20.0), "start", name);
        legend_x += 110.0;
    }
    lags(&mut out, figures);
    bars(&mut out, figures);
    out.finish()
}

fn lags(out: &mut Svg, figures: &Figures) {
    out.label((LEFT_PX, 46.0), "start", "share of commits in the bucket after so many milliseconds");
    let x = |ms: f64| LEFT_PX + PANEL_PX * ms / f64::from(LAG_MAX_MS);
    let y = |percent: f64| BOTTOM_PX - (BOTTOM_PX - TOP_PX) * percent / 100.0;
    for tick in (0..=LAG_MAX_MS / LAG_TICK_MS).map(|tick| tick * LAG_TICK_MS) {
        let at = x(f64::from(tick));
        out.path([(at, y(0.0)), (at, y(100.0))].into_iter(), "#dddddd", 1.0);
        out.label((at, BOTTOM_PX + 16.0), "middle", &tick.to_string());
    }
    for percent in [0_u32, 50, 99] {
        let at = y(f64::from(percent));
        out.path([(x(0.0), at), (LEFT_PX + PANEL_PX, at)].into_iter(), "#dddddd", 1.0);
        out.label((LEFT_PX - 6.0, at + 4.0), "end", &format!("{percent} %"));
    }
    for (lags, colour) in [(&figures.lag, CAIRN), (&figures.lag_litestream, LITESTREAM)] {
        let Some(lags) = lags else { continue };
        let point = |percent: u32| (x(lag_ms(lags, percent)), y(f64::from(percent)));
        out.path((0..=100).map(point), colour, 2.0);
    }
}

fn lag_ms(lags: &Lags, percent: u32) -> f64 {
    let ms = u32::try_from(lags.percentile(percent as usize)).unwrap_or(LAG_MAX_MS);
    f64::from(ms.min(LAG_MAX_MS))
}

fn bars(out: &mut Svg, figures: &Figures) {
    out.label((BARS_PX, 46.0), "start", "megabytes a second (longer is better)");
    let Some(Bulk { upload, restore, copy_up, copy_down }) = figures.bulk else { return };
    let (up, back) = figures.litestream.unzip();
    let rows = [
        ("up", [(Some(upload), CAIRN), (Some(copy_up), COPY), (up, LITESTREAM)]),
        ("back", [(Some(restore), CAIRN), (Some(copy_down), COPY), (back, LITESTREAM)]),
    ];
    let all = rows.iter().flat_map(|(_, bars)| bars.iter().filter_map(|(moved, _)| *moved));
    let most = all.map(|moved| moved.mb_per_s()).fold(1.0, f64::max);
    let mut top = TOP_PX;
    for (name, group) in rows {
        out.label((BARS_PX - 8.0, top + BAR_PX * 1.5 + 4.0), "end", name);
        for (moved, colour) in group {
            if let Some(per_s) = moved.as_ref().map(Moved::mb_per_s) {
                let width = BAR_MAX_PX * per_s / most;
                out.rect((BARS_PX, top), (width, BAR_PX - 2.0), colour);
                out.label((BARS_PX + width + 4.0, top + BAR_PX - 5.0), "start", &format!("{per_s:.0}"));
            }
            top += BAR_PX;
        }
        top += BAR_PX;
    }
}
