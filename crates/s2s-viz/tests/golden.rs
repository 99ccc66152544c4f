//! Pictures are byte for byte equal to the approved ones.

use insta::assert_binary_snapshot;
use s2s_viz::{
    Error, Heatmap, HeatmapGrid, HeatmapRow, Hue, LinePlot, Series, Shade, Spread, XAxis, YAxis,
};

fn heatmap() -> Heatmap {
    let row = |token: &str, is_wrong, weights: [Option<f32>; 3]| HeatmapRow {
        token: token.into(),
        is_wrong,
        weights: weights.into(),
    };
    Heatmap {
        title: "Attention".into(),
        subtitle: "1 of 2 tokens wrong".into(),
        columns: vec!["3".into(), "14".into(), "</s>".into()],
        rows: vec![
            row("14", false, [Some(0.1), Some(0.9), None]),
            row("15", true, [Some(1.0), Some(0.0), None]),
        ],
        ..Heatmap::default()
    }
}

#[test]
fn line_plots_equal_the_approved_ones() -> Result<(), Error> {
    let runs = [vec![(1.0, 4.0), (2.0, 0.5)], vec![(1.0, 3.0), (2.0, 0.1)]];
    let plot = LinePlot {
        title: "Loss".into(),
        subtitle: "two seeds".into(),
        x_label: "epoch".into(),
        y_label: "nats per token".into(),
        y_axis: YAxis::Log,
        series: vec![
            Series::over_runs("train", Hue::Blue, &runs, Spread::Range),
            Series::over_runs("validation", Hue::Vermilion, &runs, Spread::Runs),
        ],
        ..LinePlot::default()
    };
    assert_binary_snapshot!("line-plot.svg", plot.draw()?.svg().into_bytes());
    Ok(())
}

#[test]
fn shaded_plots_equal_the_approved_ones() -> Result<(), Error> {
    let points = vec![(40.0, 1.0), (80.0, 0.9), (1000.0, 0.4), (40_000.0, 0.1)];
    let plot = LinePlot {
        title: "Exact match by length".into(),
        x_axis: XAxis::Log,
        y_axis: YAxis::Share,
        shade: Some(Shade {
            label: "trained".into(),
            from: 1.0,
            to: 40.0,
        }),
        series: vec![Series::new("until EOS", Hue::Blue, points)],
        ..LinePlot::default()
    };
    assert_binary_snapshot!("shaded-plot.svg", plot.draw()?.svg().into_bytes());
    Ok(())
}

#[test]
fn heatmaps_equal_the_approved_ones() -> Result<(), Error> {
    assert_binary_snapshot!("heatmap.svg", heatmap().draw()?.svg().into_bytes());
    assert_binary_snapshot!(
        "heatmap-small.svg",
        heatmap().draw_small()?.svg().into_bytes()
    );
    Ok(())
}

#[test]
fn grids_equal_the_approved_ones() -> Result<(), Error> {
    let grid = HeatmapGrid {
        title: "Attention of samples".into(),
        panels: vec![heatmap(); 3],
        panels_per_row: 2,
        ..HeatmapGrid::default()
    };
    assert_binary_snapshot!("grid.svg", grid.draw()?.svg().into_bytes());
    Ok(())
}
