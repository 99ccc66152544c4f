//! The model card: `README.md` of an export, with the front matter of Hugging Face.

use std::fmt::Write as _;

use reverse_data::{DataConfig, Token, Tokenization};
use s2s_model::{AttentionConfig, CellKind, ModelConfig};
use s2s_runlog::{EvalRecord, wilson};
use s2s_train::Trained;

use crate::Format;

/// What the model card of an export contains beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Name of the model, such as that of its run: the headline of the card.
    pub name: String,
    /// Metrics on the test split; `None` if it was not evaluated.
    pub test: Option<EvalRecord>,
}

/// The card of a model.
pub(crate) fn card(trained: &Trained, about: &About, format: Format) -> String {
    let model = &trained.config.model;
    let n_parameters = trained.model.params().n_elements();
    let mut card = front_matter(trained, about, format);
    let mut line = |text: &str| {
        card.push_str(text);
        card.push('\n');
    };
    line(&format!("# {}", plain(&about.name)));
    line("");
    line(&format!(
        "A sequence-to-sequence model with attention, trained by s2s for {} steps: {}, {n_parameters} parameters.",
        trained.step,
        architecture(model)
    ));
    line("");
    line("## How to use it");
    line("");
    let (packages, program, weights) = match format {
        Format::PyTorch => ("torch safetensors", "model.py", "model.safetensors"),
        Format::Onnx => (
            "onnxruntime",
            "generate.py",
            "encoder.onnx and decoder_step.onnx",
        ),
    };
    line("```sh");
    let regex = if needs_regex(trained) { " regex" } else { "" };
    line(&format!("pip install {packages}{regex}"));
    if let Some(example) = example(trained) {
        line(&format!("python {program} {example}"));
    }
    line(&format!("python {program} < sequences.txt > answers.txt"));
    line("```");
    line("");
    line(&format!(
        "{program} reads {weights}, config.json and vocab.json, and decodes greedily. It is one file, made to be \
         read and changed; its first lines show how to call it from Python."
    ));
    line("");
    line("## Training data");
    line("");
    line(&data(&trained.config.data));
    line("");
    line("## Metrics");
    line("");
    line(&metrics(about));
    line("");
    line("## Limitations");
    line("");
    for limitation in limitations(trained) {
        line(&format!("* {limitation}"));
    }
    card
}

fn front_matter(trained: &Trained, about: &About, format: Format) -> String {
    let model = &trained.config.model;
    let library = match format {
        Format::PyTorch => "pytorch",
        Format::Onnx => "onnx",
    };
    let (cell, attention) = (model.cell, kind(&model.attention));
    let mut text = format!(
        "---\nlibrary_name: {library}\ntags:\n- sequence-to-sequence\n- attention\n- {cell}\n- {attention}\n"
    );
    if let Some(test) = &about.test {
        let name = serde_json::to_string(&plain(&about.name)).unwrap_or_default(); // JSON is YAML
        let data = serde_json::to_string(&data_name(&trained.config.data)).unwrap_or_default();
        let _ = write!(
            text,
            "model-index:\n- name: {name}\n  results:\n  - task:\n      type: text2text-generation\n    \
             dataset:\n      type: {data}\n      name: {data}\n      split: test\n    metrics:\n"
        );
        for row in rows(test) {
            let _ = write!(
                text,
                "    - type: {}\n      name: {}\n      value: {}\n",
                row.key, row.name, row.value
            );
        }
    }
    text + "---\n\n"
}

/// A metric of the test split.
struct Row {
    key: &'static str,
    name: &'static str,
    value: String,
    interval: Option<(f64, f64)>,
}

fn rows(test: &EvalRecord) -> Vec<Row> {
    let share = |key, name, share: f64, n| Row {
        key,
        name,
        value: format!("{share:.4}"),
        interval: Some(wilson(share, n)),
    };
    let number = |key, name, value: String| Row {
        key,
        name,
        value,
        interval: None,
    };
    let n = test.n_sequences;
    let mut rows = vec![
        share("exact_match", "exact match", test.exact_match, n),
        share("accuracy", "token accuracy", test.token_accuracy, n),
        number("loss", "loss, nats per token", format!("{:.4}", test.loss)),
    ];
    if let Some(text) = &test.text {
        rows.extend([
            number(
                "token_error_rate",
                "token error rate",
                format!("{:.4}", text.token_error_rate),
            ),
            number(
                "cer",
                "character error rate",
                format!("{:.4}", text.char_error_rate),
            ),
            number("bleu", "BLEU", format!("{:.2}", text.bleu)),
            number("chrf", "chrF", format!("{:.2}", text.chrf)),
        ]);
    }
    rows
}

fn metrics(about: &About) -> String {
    let Some(test) = &about.test else {
        return "The model was not evaluated on the test split of its run.".to_owned();
    };
    let mut text = format!(
        "On the test split of its run, {} sequences, decoded greedily:\n\n\
         | metric | value | 95 % interval |\n| --- | ---: | ---: |\n",
        test.n_sequences
    );
    for row in rows(test) {
        let interval = row
            .interval
            .map_or_else(String::new, |(low, high)| format!("{low:.4} to {high:.4}"));
        let _ = writeln!(text, "| {} | {} | {interval} |", row.name, row.value);
    }
    text + "\nIntervals are Wilson's, over sequences: they measure the size of the test split, not the spread over seeds."
}

fn architecture(model: &ModelConfig) -> String {
    let cell = match model.cell {
        CellKind::Gru => "GRU",
        CellKind::Lstm => "LSTM",
    };
    let layers = match model.layers.get() {
        1 => "1 layer".to_owned(),
        n => format!("{n} layers"),
    };
    let attention = match &model.attention {
        AttentionConfig::None {} => "no attention".to_owned(),
        attention => format!("{} attention", kind(attention)),
    };
    format!(
        "a bidirectional {cell} encoder ({layers} of {} units per direction), {attention}, and a {cell} decoder \
         ({} units){}",
        model.hidden,
        model.decoder.width(),
        options(model)
    )
}

/// The options of an architecture, each after a comma.
fn options(model: &ModelConfig) -> String {
    [
        (model.residual, ", residual connections"),
        (model.layer_norm, ", layer normalization"),
        (model.input_feeding, ", input feeding"),
    ]
    .into_iter()
    .filter_map(|(is_on, text)| is_on.then_some(text))
    .collect()
}

/// The name of a mechanism in a configuration.
fn kind(attention: &AttentionConfig) -> String {
    let json = serde_json::to_value(attention).unwrap_or_default();
    json["kind"].as_str().unwrap_or_default().to_owned()
}

fn data_name(data: &DataConfig) -> String {
    match data.is_text() {
        true => {
            let name = data.text_path().file_name().unwrap_or_default();
            plain(&name.to_string_lossy())
        }
        false => format!("synthetic/{}", task(data)),
    }
}

fn task(data: &DataConfig) -> String {
    let json = serde_json::to_value(data.task).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

fn data(data: &DataConfig) -> String {
    match data.is_text() {
        true => format!(
            "Pairs of text from `{}`, in {}. This card does not know their origin and license.",
            data_name(data),
            data.tokens.name()
        ),
        false => format!(
            "Generated sequences of the symbols 1 to {}, of length {} to {}, for the task `{}`. No sequence is in \
             two splits.",
            data.vocab - 1,
            data.min_len,
            data.max_len,
            task(data)
        ),
    }
}

fn limitations(trained: &Trained) -> Vec<String> {
    let data = &trained.config.data;
    let mut all = vec![match trained.codec.longest_source {
        Some(longest) => format!(
            "The longest source in training had {longest} tokens. Expect errors on longer ones."
        ),
        None => format!(
            "Sources in training had {} to {} tokens. Expect errors on longer ones.",
            data.min_len, data.max_len
        ),
    }];
    all.push(match data.is_text() {
        true => "Tokens outside vocab.json are read as `<unk>`. The model knows what its training text contains, \
                 errors and biases included."
            .to_owned(),
        false => "It answers one synthetic task. It is made for teaching and research, not for text.".to_owned(),
    });
    all.push("It is one run with one seed; another seed gives other errors.".to_owned());
    all.push(
        "Outputs are cut at `output_limit` of config.json; a log-probability is no measure of correctness."
            .to_owned(),
    );
    all
}

/// Whether the programs need the package regex, with which they divide text into characters.
fn needs_regex(trained: &Trained) -> bool {
    let vocabulary = &trained.codec.vocabulary;
    let is_chars = vocabulary.tokenization() == Some(Tokenization::Chars);
    is_chars && vocabulary.words().any(|word| !word.is_ascii())
}

/// An input for the command line: the first tokens with a letter or a digit, if there are any.
fn example(trained: &Trained) -> Option<String> {
    let vocabulary = &trained.codec.vocabulary;
    let is_shown = |token: &Token| {
        let text = vocabulary.line(&[*token]);
        text.contains(char::is_alphanumeric) && plain(&text) == text
    };
    let tokens = (1..=vocabulary.n_symbols()).filter(|token| vocabulary.unknown() != Some(*token));
    let tokens: Vec<Token> = tokens.filter(is_shown).take(3).collect();
    let line = vocabulary.line(&tokens);
    match vocabulary.tokenization() {
        _ if tokens.is_empty() => None,
        None => Some(line),
        Some(_) => Some(format!("'{}'", line.replace('\'', r"'\''"))),
    }
}

/// The text on one line.
fn plain(text: &str) -> String {
    let is_kept = |c: &char| !c.is_control();
    text.chars().filter(is_kept).collect()
}
