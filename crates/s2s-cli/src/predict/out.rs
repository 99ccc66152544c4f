//! Writes the attention of a sequence to a file: `--out`.

use std::path::Path;

use anyhow::bail;
use s2s_runlog::{AttentionRecord, create_folder, exists, write_file};
use s2s_viz::{Heatmap, SequencePage};

use crate::failure::Usage;
use crate::picture::MAX_TOKENS;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Svg,
    Png,
    Gif,
}

/// Checks a path before anything is computed.
///
/// # Errors
/// If the extension is unknown, or if the file exists and may not be overwritten.
pub(super) fn check(path: &Path, overwrites: bool) -> anyhow::Result<()> {
    form(path)?;
    if !overwrites && exists(path)? {
        bail!(Usage(format!(
            "{} exists; nothing was changed; choose another --out, or add --force",
            path.display()
        )));
    }
    Ok(())
}

/// Writes the attention of a decoded sequence.
///
/// # Errors
/// If the sequence is too long for a picture, or the file cannot be written.
pub(super) fn write(
    path: &Path,
    run: &str,
    record: &AttentionRecord,
    probabilities: &[f32],
    is_text: bool,
) -> anyhow::Result<()> {
    let longer = record.source.len().max(record.prediction.len());
    if longer > MAX_TOKENS {
        bail!(Usage(format!(
            "{longer} tokens are too many for a picture of attention, the limit is {MAX_TOKENS}; \
             `--json --attention` prints the weights of up to 1,024"
        )));
    }
    let map = Heatmap::from_record(record)?;
    let of_step = match (is_text, map.subtitle.split_once(", ")) {
        // The correct output of text is not known.
        (true, Some((step, _))) => step.to_owned(),
        _ => map.subtitle.clone(),
    };
    let map = Heatmap {
        subtitle: format!("{run}, {of_step}"),
        ..map
    };
    let bytes = match form(path)? {
        Form::Svg => map.draw()?.svg().into_bytes(),
        Form::Png => map.draw()?.png().bytes,
        Form::Gif => map.gif()?,
        Form::Html => {
            let bare = Heatmap {
                title: String::new(),
                subtitle: String::new(),
                ..map.clone()
            };
            let page = SequencePage {
                title: run,
                subtitle: &of_step,
                record,
                probabilities,
                heatmap: &bare.draw()?,
            };
            page.html().into_bytes()
        }
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        create_folder(folder)?;
    }
    Ok(write_file(path, &bytes)?)
}

fn form(path: &Path) -> Result<Form, Usage> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_lowercase().as_str() {
        "html" => Ok(Form::Html),
        "svg" => Ok(Form::Svg),
        "png" => Ok(Form::Png),
        "gif" => Ok(Form::Gif),
        _ => Err(Usage(format!(
            "the file of --out must end in .html, .svg, .png or .gif, got {}",
            path.display()
        ))),
    }
}
