//! Draws the plots of a run from its records.

use std::io;
use std::path::{Path, PathBuf};

use reverse_data::Tokenization;
use s2s_runlog::{
    AttentionRecord, CheckpointName, Error, LengthsRecord, MetricsRecord, Result, RunDir, exists,
    list_folder, read_json, read_lines, write_file,
};
use s2s_train::{Picture, load_config};
use s2s_viz::{
    Figure, Heatmap, HeatmapGrid, accuracy_plot, exact_match_plot, heatmap_png, lengths_plots,
    loss_plot,
};
use serde::de::DeserializeOwned;

use crate::failure::Hinted;
use crate::shell::{program, quote};

/// Longer sequences are not drawn: their cells would be too small.
pub(crate) const MAX_TOKENS: usize = 128;

/// Number of evaluations shown side by side.
const N_EVALUATIONS: usize = 9;

/// Draws the curves and heatmaps of a run into its `plots` folder. The run may still be training.
pub(crate) fn draw(dir: &RunDir) -> anyhow::Result<()> {
    let metrics = || records::<MetricsRecord>(dir.metrics());
    if metrics()?.is_empty() {
        return Err(Hinted {
            what: format!(
                "nothing to plot: run {} has no evaluation yet",
                dir.path().display()
            ),
            hint: match exists(dir.checkpoint(CheckpointName::Last))? {
                true => format!(
                    "the original {}: evaluations before the last checkpoint are not repeated",
                    quote(&dir.metrics())
                ),
                false => format!("`{} resume {}`", program(), quote(dir.path())),
            },
        }
        .into());
    }
    let _lock = dir.lock_plots()?;
    let metrics = metrics()?; // read again under the lock, so that the newest records are drawn last
    let mut figures = vec![
        ("loss", loss_plot(&metrics).draw()?),
        ("accuracy", accuracy_plot(&metrics).draw()?),
        ("exact-match", exact_match_plot(&metrics).draw()?),
    ];
    let samples = drawable(records(dir.samples())?);
    if !samples.is_empty() {
        let config = load_config(Some(&dir.resolved_config()), &[])?;
        let sheet = sample_sheet(&samples, config.data.tokenization())?;
        figures.push(("attention", sheet.draw()?));
    }
    let probes = of_first_source(drawable(records(dir.attention())?));
    if !probes.is_empty() {
        let config = load_config(Some(&dir.resolved_config()), &[])?;
        let source = config.data.tokenization().join(probes[0].symbols());
        let sheet = HeatmapGrid {
            title: format!("Attention over training: {source}"),
            ..HeatmapGrid::over_training(&probes, N_EVALUATIONS)?
        };
        figures.push(("attention-over-training", sheet.draw()?));
    }

    for (name, figure) in figures {
        write(dir, name, &figure)?;
    }
    for path in dir.all_lengths()? {
        draw_lengths(dir, &path)?;
    }
    Ok(())
}

/// Draws an evaluation by length: `lengths-NAME.json` to `lengths-NAME`, `lengths-NAME.tokens` and
/// `lengths-NAME.attention`. Returns the paths.
pub(crate) fn draw_lengths(dir: &RunDir, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let record: LengthsRecord = read_json(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut paths = Vec::new();
    for (name, plot) in lengths_plots(&record) {
        let name = match name {
            "" => stem.to_string(),
            name => format!("{stem}.{name}"),
        };
        paths.extend(write(dir, &name, &plot.draw()?)?);
    }
    Ok(paths)
}

fn write(dir: &RunDir, name: &str, figure: &Figure) -> Result<[PathBuf; 2]> {
    let [svg, png] = ["svg", "png"].map(|ending| dir.plots().join(format!("{name}.{ending}")));
    write_file(&svg, figure.svg().as_bytes())?;
    write_file(&png, &figure.png().bytes)?;
    Ok([svg, png])
}

/// Draws the head of a transducer into the `plots` folder, unless its sequence is too long to be drawn.
pub(crate) fn write_head(dir: &RunDir, heatmap: &Heatmap) -> anyhow::Result<Option<[PathBuf; 2]>> {
    let sides = [heatmap.columns.len(), heatmap.rows.len()];
    if !sides.iter().all(|side| (1..=MAX_TOKENS).contains(side)) {
        return Ok(None);
    }
    let _lock = dir.lock_plots()?;
    Ok(Some(write(dir, "head", &heatmap.draw()?)?))
}

/// The paths of all plots in the folder, sorted by name.
pub(crate) fn drawn(dir: &RunDir) -> Vec<PathBuf> {
    let names = list_folder(dir.plots()).unwrap_or_default().into_iter();
    let mut paths: Vec<PathBuf> = names.map(|name| dir.plots().join(name)).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|ext| ext == "svg" || ext == "png")
    });
    paths
}

/// The attention of a sequence for TensorBoard, if it can be drawn.
pub(crate) fn attention(record: &AttentionRecord) -> Option<Picture> {
    let png = heatmap_png(Some(record).filter(|record| is_drawable(record))?).ok()?;
    Some(Picture {
        png: png.bytes,
        width: png.width,
        height: png.height,
    })
}

/// The records of a file; empty if it does not exist yet.
pub(crate) fn records<T: DeserializeOwned>(path: PathBuf) -> Result<Vec<T>> {
    match read_lines(path) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        result => result,
    }
}

fn sample_sheet(
    samples: &[AttentionRecord],
    tokenization: Tokenization,
) -> Result<HeatmapGrid, s2s_viz::Error> {
    let panel = |record: &AttentionRecord| {
        let map = Heatmap::from_record(record)?;
        let verdict = map
            .subtitle
            .split_once(", ")
            .map_or("", |(_, verdict)| verdict);
        Ok(Heatmap {
            title: tokenization.join(record.symbols()),
            subtitle: verdict.to_owned(),
            ..map
        })
    };
    Ok(HeatmapGrid {
        title: "Attention".into(),
        subtitle: "samples of the test split: source tokens from left to right, output tokens \
                   from top to bottom"
            .into(),
        panels: samples.iter().map(panel).collect::<Result<_, _>>()?,
        panels_per_row: 4,
    })
}

fn drawable(mut records: Vec<AttentionRecord>) -> Vec<AttentionRecord> {
    records.retain(is_drawable);
    records
}

/// The records of the sequence that comes first.
fn of_first_source(mut records: Vec<AttentionRecord>) -> Vec<AttentionRecord> {
    let first = records.first().map(|record| record.source.clone());
    records.retain(|record| Some(&record.source) == first.as_ref());
    records
}

fn is_drawable(record: &AttentionRecord) -> bool {
    let sides = [record.source.len(), record.weights.len()];
    sides.iter().all(|side| (1..=MAX_TOKENS).contains(side))
}
