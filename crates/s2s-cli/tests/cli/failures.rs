//! User errors and failures of the environment: each row of [`TABLE`] is a command with its exit
//! code and message.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use s2s_runlog::{RunDir, write_checkpoint};
use tempfile::TempDir;

use crate::text::{TRAINED_ON_TEXT, gzip};
use crate::{TINY, command, copy, copy_of_trained, home_of_trained, stderr, succeeds};

/// A row: name, preparation, command, exit code, and three parts of the message: what failed, why,
/// and the hint.
type Row = (
    &'static str,
    fn(&Path),
    &'static str,
    i32,
    [&'static str; 3],
);

const START: &str = "try: `s2s config > mine.toml`";
const HELP: &str = "try '--help'";
const ANOTHER: &str = "try: the folder of a run that `s2s train` created";
const CHECKPOINT: &str = "try: the other checkpoint, which is intact";

/// What `torch.save` wrote.
const STATE_DICT: &[u8] = include_bytes!("../../../s2s-model/tests/state_dict.pt");

/// Each command runs in a folder with `run`, which is finished, `begun`, which is not, and a
/// `corpus` that `text.toml` refers to.
#[rustfmt::skip] // three lines a row: what and before, command and code, message
const TABLE: &[Row] = &[
    // Options.
    ("no such command", nothing,
        "reverse", 2,
        ["subcommand 'reverse'", "unrecognized", HELP]),
    ("reading of generated data", nothing,
        "data time", 2,
        ["generated data", "have no files to read", "set data.file or data.folder"]),
    ("reading of text without a time", nothing,
        "data time --config text.toml -n 0", 2,
        ["'0' for '-n <N>'", "number would be zero", HELP]),
    ("reading of text that is not there", nothing,
        "data time --set data.file=gone.csv", 1,
        ["cannot read", "gone.csv", "No such file"]),
    ("no such option", nothing,
        "train --epochs 3", 2,
        ["'--epochs'", "unexpected argument", HELP]),
    ("a value is missing", nothing,
        "train --seed", 2,
        ["'--seed <N>'", "a value is required", HELP]),
    ("not a number", nothing,
        "train --seed=x", 2,
        ["'x' for '--seed", "invalid digit", HELP]),
    ("a negative seed", nothing,
        "train --seed=-1", 2,
        ["'-1' for '--seed", "invalid digit", HELP]),
    ("a seed too large", nothing,
        "train --seed=9223372036854775808", 2,
        ["for '--seed", "is not in 0..=", HELP]),
    ("no threads", nothing,
        "train --threads 0", 2,
        ["'0' for '--threads", "0 is not in 1..=1024", HELP]),
    ("too many threads", nothing,
        "eval run --threads 1025", 2,
        ["'1025' for '--threads", "1025 is not in 1..=1024", HELP]),
    ("an empty batch", nothing,
        "eval run --batch-size 0", 2,
        ["'0' for '--batch-size", "0 is not in 1..=65536", HELP]),
    ("a huge batch", nothing,
        "predict run --batch-size 65537", 2,
        ["'65537'", "is not in 1..=65536", HELP]),
    ("no such split", nothing,
        "eval run --split dev", 2,
        ["'dev' for '--split", "invalid value", "[possible values: train, val, test]"]),
    ("lengths of the training split", nothing,
        "eval run --split train --lengths 3", 2,
        ["lengths are evaluated on sequences", "no training set contains", "use --split val or test"]),
    ("the place of generated data", nothing,
        "resume begun --data corpus", 2,
        ["trained on generated data", "not on text", "try: the command without --data"]),
    ("text that is gone", |home| { copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text")); write(home, "text/corpus.json", fs::read_to_string(home.join("text/corpus.json")).unwrap().replace("corpus/", "gone/").as_bytes()) },
        "eval text", 3,
        ["checkpoint text/checkpoints/best does not match the run", "corpus.json", "restore the original"]),
    ("other text that is gone", |home| copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text")),
        "eval text --data gone", 1,
        ["cannot read gone", "No such file", "try: --data with a table of pairs"]),
    ("a folder without a corpus", |home| { copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text")); fs::create_dir(home.join("empty")).unwrap() },
        "eval text --data empty", 1,
        ["cannot read empty/test.src", "No such file", "try: --data with a table of pairs"]),
    ("no such checkpoint", nothing,
        "eval run --checkpoint first", 2,
        ["'first' for '--checkpoint", "invalid value", "[possible values: best, last]"]),
    ("no such device", nothing,
        "train --device tpu", 2,
        ["error: ", "unknown device \"tpu\"", "try: --device auto, cpu, cuda"]),
    ("no such device for a finished run", nothing,
        "resume run --device tpu", 2,
        ["error: ", "unknown device \"tpu\"", "try: --device auto, cpu, cuda"]),
    ("a device without a number", nothing,
        "eval run --device cuda:x", 2,
        ["error: ", "\"x\" is not the number of a CUDA device", "try: --device cuda:0"]),
    ("bf16 on a CPU", nothing,
        "train --set train.precision=bf16 --run-dir new", 2,
        ["train.precision = \"bf16\" needs a GPU", "on the CPU", "try: --set train.precision=f32"]),
    ("bf16 where auto finds no GPU", nothing,
        "train --device auto --set train.precision=bf16 --run-dir new", 2,
        ["device  auto: cpu, ", "train.precision = \"bf16\" needs a GPU", "try: --set train.precision=f32"]),
    ("f16 for logarithms of weights", nothing,
        "train --set train.precision=f16 --set model.attention.kind=ntm", 2,
        ["train.precision: \"f16\" cannot represent", "logarithm", "set precision = \"bf16\" or \"f32\""]),
    ("a precision that does not exist", nothing,
        "train --set train.precision=f8", 2,
        ["--set train.precision=f8", "unknown variant `f8`", "`f32`, `bf16`, `f16`"]),
    ("no such column in a compressed table", |home| write(home, "t.csv.gz", &gzip("from,to\na,b\n")),
        "train --set data.file=t.csv.gz --set data.source_column=in --run-dir new", 1,
        ["t.csv.gz: no column \"in\" in the header", "its columns are \"from\", \"to\"", "try: `gzip -dc t.csv.gz | head -n 1`"]),
    ("two inputs", nothing,
        "predict run --file a 1", 2,
        ["--file and a sequence are given", "remove one", ""]),
    ("lengths backwards", nothing,
        "eval run --lengths 5..3", 2,
        ["--lengths: range 5..3", "is empty", "must not exceed"]),
    ("a length of nothing", nothing,
        "eval run --lengths 0", 2,
        ["--lengths", "got 0", "must lie in [1, 1000000]"]),
    ("no length", nothing,
        "eval run --lengths 3..x", 2,
        ["--lengths: \"3..x\"", "is not a length", "such as 40 or 1..500"]),
    ("more than fits", nothing,
        "eval run --lengths 1..100000 --samples 1000000", 2,
        ["1000000 sequences of length 100000", "have more than 100000000 symbols", "lower --samples to at most 1000"]),
    ("samples without lengths", nothing,
        "eval run --samples 3", 2,
        ["--lengths", "were not provided", HELP]),
    // Configurations.
    ("no file", nothing,
        "config --config nope.toml", 2,
        ["reading the configuration nope.toml", "No such file", START]),
    ("a folder", nothing,
        "config --config run", 2,
        ["reading the configuration run", "is a folder, not a regular file", START]),
    ("a loop of links", |home| link("c", &home.join("c")),
        "config --config c", 2,
        ["reading the configuration c", "symbolic link", START]),
    ("a device", nothing,
        "config --config /dev/zero", 2,
        ["/dev/zero", "has at least 1048577 bytes; the limit is 1048576", START]),
    ("too large", |home| write(home, "c", &[b'#'; (1 << 20) + 1]),
        "config --config c", 2,
        ["reading the configuration c", "1048577 bytes; the limit is 1048576", START]),
    ("invalid UTF-8", |home| write(home, "c", b"seed = \xff\xfe"),
        "train --config c", 2,
        ["reading the configuration c", "utf-8", START]),
    ("a NUL", |home| write(home, "c", b"seed = 1\0"),
        "train --config c", 2,
        ["c:1:", "expected literal string", START]),
    ("invalid TOML", |home| write(home, "c", b"seed 3\n"),
        "train --config c", 2,
        ["c:1:", "expected", START]),
    ("a key twice", |home| write(home, "c", b"seed = 1\nseed = 2\n"),
        "train --config c", 2,
        ["c:2:1", "duplicate key", START]),
    ("too deep", |home| { write(home, "c", ["seed = ", &"[".repeat(9999)].concat().as_bytes()) },
        "train --config c", 2,
        ["c:1:", "recursion", START]),
    ("a giant number", |home| write(home, "c", b"seed = 99999999999999999999\n"),
        "train --config c", 2,
        ["c:1:", "", START]),
    ("a misspelled key", |home| write(home, "c", b"[model]\nhiden = 3\n"),
        "train --config c", 2,
        ["c:2:1", "unknown key \"hiden\" in [model]", "did you mean \"hidden\"?"]),
    ("a key of another kind", |home| write(home, "c", b"[model.attention]\nkind = \"dot\"\nunits = 3\n"),
        "train --config c", 2,
        ["c:3:1", "units", START]),
    ("a number for a table", |home| write(home, "c", b"model = 3\n"),
        "train --config c", 2,
        ["c:1:1: model", "expected a table", START]),
    ("a word for a number", nothing,
        "train --set data.vocab=x", 2,
        ["--set data.vocab=x: data.vocab", "string \"x\", expected a whole number", START]),
    ("a parameter that does not exist", nothing,
        "train --set train.freeze=[\"encodr.*\"] --run-dir new", 2,
        ["train.freeze: no parameter has a name like \"encodr.*\"", "the parameters are encoder.embedding.weight", "train.freeze=[\"encoder.*\"]"]),
    ("NaN", nothing,
        "train --set train.learning_rate=nan", 2,
        ["train.learning_rate", "finite number above 0, got NaN", START]),
    ("out of its bounds", nothing,
        "train --set model.embedding_dropout=1", 2,
        ["model.embedding_dropout", "must lie in [0, 1), got 1", START]),
    ("a width of zero", nothing,
        "train --set model.hidden=0", 2,
        ["model.hidden", "expected a whole number above 0", START]),
    ("a huge width", nothing,
        "train --set model.hidden=1000000", 2,
        ["model.hidden", "at most 16384, got 1000000", START]),
    ("huge together", nothing,
        "train --set model.hidden=16384 --set model.decoder=16384", 2,
        ["model", "parameters; the limit is", "lower the widths in [model]"]),
    ("too long", nothing,
        "train --set data.max_len=1000001", 2,
        ["data.max_len", "1000000", START]),
    ("too long for a graph", nothing,
        "train --set data.max_len=4095 --set model.kernels=reference --set train.batch_size=1 --set train.eval_batch_size=1", 2,
        ["model.kernels: \"reference\"", "at most 4094 tokens, got 4095", "set kernels = \"fused\""]),
    ("no key", nothing,
        "train --set 3", 2,
        ["--set 3", "expected key=value", "for example --set train.epochs=3"]),
    ("an endless run", nothing,
        "train --set train.epochs=0", 2,
        ["train.max_steps", "would never end", "for example 1000"]),
    ("two things at once", nothing,
        "train --set model.layers=0 --set sed=1", 2,
        ["model.layers", "unknown key \"sed\"", "did you mean \"seed\"?"]),
    // Folders of runs.
    ("a folder that has a run", nothing,
        "train --run-dir run", 2,
        ["run already exists and is not an empty folder", "nothing was changed", "resume run`"]),
    ("a folder with files", |home| write(home, "mine/notes", b""),
        "train --run-dir mine", 2,
        ["mine already exists", "is not an empty folder", "try: another --run-dir"]),
    ("a file", |home| write(home, "file", b""),
        "train --run-dir file", 2,
        ["file already exists", "is not an empty folder", "try: another --run-dir"]),
    ("below a file", |home| write(home, "file", b""),
        "train --run-dir file/run", 1,
        ["file/run", "Not a directory", "try: "]),
    ("nowhere to write", nothing,
        "train --run-dir /proc/run", 1,
        ["cannot write /proc/run", "caused by: ", "try: free disk space or fix the permissions"]),
    ("no such run", nothing,
        "resume nope", 2,
        ["run folder nope does not exist", "", ANOTHER]),
    ("no run for plot", nothing,
        "plot nope", 2,
        ["run folder nope does not exist", "", ANOTHER]),
    ("no run for predict", nothing,
        "predict nope 1", 2,
        ["run folder nope does not exist", "", ANOTHER]),
    ("an empty folder", |home| fs::create_dir(home.join("empty")).unwrap(),
        "eval empty", 2,
        ["empty is not a run folder", "it has no config.resolved.toml", ANOTHER]),
    ("a file for a run", |home| write(home, "file", b""),
        "resume file", 2,
        ["file is not a run folder", "it has no config.resolved.toml", ANOTHER]),
    ("a run of a later version", |home| { append(home, "begun/config.resolved.toml", "\n[model.memory]\nslots = 3\n") },
        "resume begun", 2,
        ["begun/config.resolved.toml:", "unknown key \"memory\" in [model]", "try: restore the original config.resolved.toml"]),
    ("a damaged configuration", |home| write(home, "begun/config.resolved.toml", b"\x00"),
        "resume begun", 2,
        ["begun/config.resolved.toml:1:", "", "try: restore the original config.resolved.toml"]),
    ("in use by another process", nothing,
        "resume begun", 5,
        ["run folder begun is in use", "by process", "wait for it, or stop it"]),
    ("a finished run that was edited", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "max_len = 4", "max_len = 5") }) },
        "resume run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "saved with a different config.resolved.toml", "restore the original run/config.resolved.toml"]),
    ("plots of a run that was edited", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "max_len = 4", "max_len = 5") }) },
        "plot run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "saved with a different config.resolved.toml", "restore the original run/config.resolved.toml"]),
    ("watching a run that was edited", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "max_len = 4", "max_len = 5") }) },
        "watch run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "saved with a different config.resolved.toml", "restore the original run/config.resolved.toml, or start a new run\n"]),
    ("a playground for a run that was edited", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "max_len = 4", "max_len = 5") }) },
        "playground run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "saved with a different config.resolved.toml", "restore the original run/config.resolved.toml"]),
    // Changes of a run.
    ("a key of the model", nothing,
        "resume begun --set model.hidden=8", 2,
        ["model.hidden cannot change in a resumed run", "the model or the data depend on it", "s2s train --config begun/config.resolved.toml --set model.hidden=8`"]),
    ("a key of the data and the seed", nothing,
        "resume run --set data.vocab=9 --set seed=2", 2,
        ["data.vocab, seed cannot change", "depend on them", "s2s train --from run --set data.vocab=9 --set seed=2`"]),
    ("the size of batches", nothing,
        "resume run --set train.batch_size=3", 2,
        ["train.batch_size cannot change", "the model or the data", "s2s train --from run --set train.batch_size=3`"]),
    ("a misspelled key to change", nothing,
        "resume run --set train.epoch=3", 2,
        ["--set train.epoch=3", "unknown key \"epoch\" in [train]", "did you mean \"epochs\"?"]),
    ("a schedule without a decision", nothing,
        "resume run --set train.max_steps=300", 2,
        ["train.schedule.kind=cosine spans the whole run", "from 120 to 300 steps", "resume run --set train.max_steps=300 --keep-schedule`"]),
    ("fewer steps than taken", nothing,
        "resume run --set train.max_steps=20 --keep-schedule", 2,
        ["the run has taken 120 steps", "cannot end after 20", "try: a number of steps above 120"]),
    ("epochs beyond the last step", nothing,
        "resume run --set train.epochs=99", 2,
        ["train.max_steps = 120 ends the run first", "after the 120 steps", "resume run --set train.epochs=99 --set train.max_steps=0 --set train.schedule.kind=cosine` removes that limit"]),
    ("a schedule without a change", nothing,
        "resume run --keep-schedule", 2,
        ["--set <KEY=VALUE>", "were not provided", HELP]),
    ("weights of another width", nothing,
        "train --from run --set model.hidden=8 --run-dir new", 2,
        ["the weights of run run do not fit", "model.hidden is 8 here and 16 there", "the same values in [model]"]),
    ("weights of another mechanism", nothing,
        "train --from run --set model.attention.kind=dot --run-dir new", 2,
        ["the weights of run run do not fit", "model.attention.kind", "the same values in [model]"]),
    ("weights of no run", nothing,
        "train --from nope@last --run-dir new", 2,
        ["run folder nope does not exist", "", ANOTHER]),
    ("weights of no checkpoint", |home| remove(home, "run/checkpoints/last"),
        "train --from run@last --run-dir new", 3,
        ["checkpoint run/checkpoints/last does not exist", "", "try: "]),
    ("weights that are damaged", |home| { change(home, "run/checkpoints/best/params.safetensors", |bytes| { bytes[5000] ^= 1 }) },
        "train --from run --run-dir new", 3,
        ["run/checkpoints/best is damaged", "SHA-256", CHECKPOINT]),
    ("other weights to resume or start", nothing,
        "train --from run@last --run-dir run --resume-or-start", 2,
        ["run run started from random parameters, but the command has --from run@last", "", "try: another --run-dir"]),
    ("another configuration to resume or start", nothing,
        "train --config text.toml --run-dir run --resume-or-start", 2,
        ["run run has another configuration", "data.folder", "was requested"]),
    ("another seed to resume or start", nothing,
        "train --from run --run-dir run --resume-or-start --seed 3", 2,
        ["run run has another configuration", "seed is 0 in the run", "3 was requested"]),
    ("a folder with files to resume or start", |home| write(home, "mine/notes", b""),
        "train --run-dir mine --resume-or-start", 2,
        ["mine already exists", "is not an empty folder", "try: another --run-dir"]),
    // Checkpoints.
    ("no checkpoint", |home| remove(home, "run/checkpoints"),
        "eval run", 3,
        ["checkpoint run/checkpoints/best does not exist", "stopped before it saved one", "try: a new run"]),
    ("a truncated checkpoint", |home| { change(home, "run/checkpoints/best/params.safetensors", |bytes| { bytes.truncate(100) }) },
        "eval run", 3,
        ["checkpoint run/checkpoints/best is damaged", "params.safetensors has 100 bytes; the manifest lists", CHECKPOINT]),
    ("a flipped bit", |home| { change(home, "run/checkpoints/best/params.safetensors", |bytes| { bytes[5000] ^= 1 }) },
        "predict run 1", 3,
        ["run/checkpoints/best is damaged", "the SHA-256 of params.safetensors differs", CHECKPOINT]),
    ("a checkpoint of a later version", |home| { change(home, "begun/checkpoints/last/manifest.json", |bytes| { replace(bytes, "\"format\": 1", "\"format\": 2") }) },
        "resume begun", 3,
        ["begun/checkpoints/last is damaged", "it has format 2; this program reads format 1", CHECKPOINT]),
    ("a file of a checkpoint is missing", |home| remove(home, "begun/checkpoints/last/state.json"),
        "resume begun", 3,
        ["begun/checkpoints/last is damaged", "state.json is missing", CHECKPOINT]),
    ("a last checkpoint that was deleted", |home| remove(home, "begun/checkpoints/last"),
        "resume begun", 3,
        ["begun/checkpoints/last is damaged", "it is missing, although the run saved it at step", CHECKPOINT]),
    ("a last checkpoint that was deleted from a finished run", |home| remove(home, "run/checkpoints/last"),
        "resume run --set train.max_steps=200 --keep-schedule", 3,
        ["run/checkpoints/last is damaged", "it is missing, although the run saved it at step", "eval run --checkpoint best"]),
    ("a FIFO in a checkpoint", |home| { remove(home, "run/checkpoints/best/params.safetensors"); fifo(&home.join("run/checkpoints/best/params.safetensors")) },
        "eval run", 3,
        ["run/checkpoints/best is damaged", "params.safetensors is a FIFO", CHECKPOINT]),
    ("a checkpoint of another model", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "hidden = 16", "hidden = 15") }) },
        "eval run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "has shape [48, 16], expected [45, 16]", "restore the original run/config.resolved.toml"]),
    ("a checkpoint of other data", |home| { change(home, "run/config.resolved.toml", |bytes| { replace(bytes, "max_len = 4", "max_len = 5") }) },
        "eval run", 3,
        ["checkpoint run/checkpoints/best does not match the run", "saved with a different config.resolved.toml", "restore the original run/config.resolved.toml"]),
    ("a NaN in a checkpoint", |home| spoil(home, "run/checkpoints/best"),
        "predict run 1", 3,
        ["checkpoint run/checkpoints/best does not match the run", "numbers that are not finite", "eval run/checkpoints/best --allow-nonfinite`"]),
    ("a NaN in a checkpoint to resume from", |home| spoil(home, "begun/checkpoints/last"),
        "resume begun", 3,
        ["checkpoint begun/checkpoints/last does not match the run", "numbers that are not finite", "start a new run"]),
    // Weights.
    ("an export into a folder with files", |home| write(home, "full/notes", b""),
        "export run --to full", 2,
        ["full is neither empty nor an export: it has notes", "nothing was changed", "try: another --to\n"]),
    ("an export over other files", |home| write(home, "full/notes", b""),
        "export run --to full --overwrite", 2,
        ["full is neither empty nor an export: it has notes", "nothing was changed", "try: another --to\n"]),
    ("an export over the model of another program", |home| { write(home, "full/README.md", b"theirs"); write(home, "full/config.json", b"{\"model_type\": \"t5\"}") },
        "export run --to full --overwrite", 2,
        ["full is neither empty nor an export: it has README.md, but no config.json of s2s", "nothing was changed", "try: another --to\n"]),
    ("an export over an export", |home| write(home, "full/config.json", b"{\"format\": 1, \"output_limit\": 3}"),
        "export run --to full", 2,
        ["full already has an export", "nothing was changed", "s2s export run --to full --overwrite` to replace it"]),
    ("an export over a file", |home| write(home, "file", b""),
        "export run --to file --overwrite", 2,
        ["file is not a folder", "nothing was changed", "try: another --to\n"]),
    ("an export of a run without a checkpoint", |home| remove(home, "begun/checkpoints"),
        "export begun --to new", 3,
        ["begun/checkpoints/best", "does not exist", "trains it"]),
    ("an import into a run", nothing,
        "import run/checkpoints/best/params.safetensors --config run/config.resolved.toml --run-dir begun", 2,
        ["begun already exists", "not an empty folder", "choose another --run-dir"]),
    ("weights without a configuration", nothing,
        "import run/checkpoints/best/params.safetensors --run-dir new", 2,
        ["params.safetensors has no configuration", "s2s did not export it", "try: --config FILE"]),
    ("weights of another width", nothing,
        "import run/checkpoints/best/params.safetensors --config run/config.resolved.toml --set model.hidden=8 --run-dir new", 2,
        ["do not fit the model", "has shape [48, 16], expected [24, 16]", "the sizes of these weights"]),
    ("weights of another vocabulary", nothing,
        "import run/checkpoints/best/params.safetensors --config run/config.resolved.toml --set data.vocab=9 --run-dir new", 2,
        ["encoder.embedding.weight", "has shape [13, 16], expected [11, 16]", "a --config with data.vocab"]),
    ("weights of another attention", nothing,
        "import run/checkpoints/best/params.safetensors --config run/config.resolved.toml --set model.attention.kind=general --run-dir new", 2,
        ["do not fit the model", "attention.key.weight has shape [16, 32], expected [32, 32]", "try: a --config with the sizes of these weights"]),
    ("a pickle with code", |home| { write(home, "weights.pt", STATE_DICT); change(home, "weights.pt", |bytes| { without_checksum(bytes); replace(bytes, "torch._utils\n", "posix.system\n") }) },
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt contains code", "posix.system._rebuild_tensor_v2; it was not run", "torch.save(model.state_dict()"]),
    ("a damaged archive", |home| { write(home, "weights.pt", STATE_DICT); change(home, "weights.pt", |bytes| replace(bytes, "torch._utils\n", "posix.system\n")) },
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt is not readable as weights", "state_dict/data.pkl: it is damaged: its checksum differs", "try: write it again"]),
    ("a tensor that is not a plain array", |home| { write(home, "weights.pt", STATE_DICT); change(home, "weights.pt", |bytes| { without_checksum(bytes); replace(bytes, "_rebuild_tensor_v2", "_rebuild_tensor_v3") }) },
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt has a tensor of a kind that is not supported", "torch._utils._rebuild_tensor_v3", "tensor.to_dense().float() for name, tensor in"]),
    ("a pickle of another protocol", |home| { write(home, "weights.pt", STATE_DICT); change(home, "weights.pt", |bytes| { without_checksum(bytes); bytes[0x41] = 4 }) },
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt is not readable as weights", "its pickle has protocol 4; only 2, the default of torch.save, and 3", "torch.save(model.state_dict()"]),
    ("an archive that is cut off", |home| write(home, "weights.pt", &STATE_DICT[..1000]),
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt is not readable as weights", "a damaged or incomplete archive", "try: write it again"]),
    ("no weights", |home| write(home, "weights.pt", b"<html>"),
        "import weights.pt --config run/config.resolved.toml --run-dir new", 1,
        ["weights.pt is not readable as weights", "neither safetensors nor an archive", "try: write it again"]),
    ("names that are not TOML", |home| { write(home, "weights.pt", STATE_DICT); write(home, "names", b"[names]") },
        "import weights.pt --config run/config.resolved.toml --rename names --run-dir new", 2,
        ["names: TOML parse error", "unknown field `names`", "s2s import --help` shows such a file"]),
    ("a folder of weights", |home| write(home, "out/model.safetensors", b""),
        "import out --run-dir new", 2,
        ["out is a folder", "not a file of weights", "s2s import out/model.safetensors --run-dir new`"]),
    ("a folder without weights", nothing,
        "import corpus --run-dir new", 2,
        ["corpus is a folder", "not a file of weights", "try: a file of weights: .safetensors, .pt or .pth"]),
    ("an export of another version", |home| write(home, "w.safetensors", &foreign_export()),
        "import w.safetensors --run-dir new", 2,
        ["w.safetensors is an export in format 2 by another version of s2s", "cannot read its configuration", "try: --config FILE"]),
    ("names that do not fit", |home| { write(home, "weights.pt", STATE_DICT); write(home, "names", b"[name]\na = 'A'\nc = 'C'") },
        "import weights.pt --config run/config.resolved.toml --rename names --partial --run-dir new", 2,
        ["the model does not have A (a in the file), b", "no tensor matches the renames of c", "try: a --rename file with these names\n"]),
    ("two names for one parameter", |home| { write(home, "weights.pt", STATE_DICT); write(home, "names", b"[name]\na = 'attention.energy'\nb = 'attention.energy'") },
        "import weights.pt --config run/config.resolved.toml --rename names --partial --run-dir new", 2,
        ["a and b of the file are both attention.energy", "has shape [2, 3]", "try: a --config with the sizes"]),
    ("a run into a run, whose text is not read", nothing,
        "train --config text.toml --set data.folder=gone --run-dir begun", 2,
        ["begun already exists", "not an empty folder", "choose another --run-dir"]),
    ("an average into a run", nothing,
        "average run gone --run-dir begun", 2,
        ["begun already exists", "not an empty folder", "choose another --run-dir"]),
    ("a vocabulary of numbers", |home| write(home, "weights.pt", STATE_DICT),
        "import weights.pt --config run/config.resolved.toml --vocab words --run-dir new", 2,
        ["--vocab is for text", "symbols of synthetic data are numbers", "remove it"]),
    ("text without a vocabulary", |home| write(home, "weights.pt", STATE_DICT),
        "import weights.pt --config text.toml --run-dir new", 2,
        ["weights.pt has no vocabulary", "1 for <unk>", "try: --vocab FILE"]),
    // Records.
    ("a run not yet evaluated", |home| { remove(home, "begun/metrics.jsonl"); remove(home, "begun/checkpoints") },
        "plot begun", 1,
        ["nothing to plot: run begun", "has no evaluation yet", "resume begun`"]),
    ("a run whose evaluations are gone", |home| remove(home, "run/metrics.jsonl"),
        "plot run", 1,
        ["nothing to plot: run run", "has no evaluation yet", "try: the original run/metrics.jsonl"]),
    ("no table of pairs", nothing,
        "train --run-dir new --set data.file=pairs.tsv", 1,
        ["cannot read pairs.tsv", "No such file", "try: set data.file to a table of pairs"]),
    ("no vocabulary to import", |home| write(home, "weights.pt", STATE_DICT),
        "import weights.pt --config text.toml --run-dir new --vocab words", 1,
        ["cannot read the vocabulary", "words", "No such file"]),
    ("no vocabulary", nothing,
        "train --config text.toml --run-dir new --set data.vocab_file=words", 1,
        ["cannot read words", "No such file", "try: set data.vocab_file to a file"]),
    ("a folder of words", nothing,
        "train --config text.toml --run-dir new --set data.vocab_file=corpus", 1,
        ["corpus is a folder", "not a regular file", "try: set data.vocab_file to a file"]),
    ("lengths of a text", |home| { copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text")) },
        "eval text --lengths 3", 2,
        ["lengths can be evaluated for synthetic data only", "trained on text", "remove --lengths or --protocol"]),
    ("a damaged vocabulary of a run", |home| { copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text")); write(home, "text/corpus.json", b"{}") },
        "predict text 1", 1,
        ["text/corpus.json is not a valid record", "missing field", "try: the original text/corpus.json"]),
    ("an option of another program", nothing,
        "predict run --num_beams 3", 2,
        ["unexpected argument '--num_beams'", "Usage:", HELP]),
    ("a number for a folder", nothing,
        "data show --set data.folder=2024", 1,
        ["2024/train.src", "No such file", "or data.folder to a folder"]),
    ("both checkpoints are gone", |home| { remove(home, "run/checkpoints") },
        "predict run 1", 3,
        ["checkpoint run/checkpoints/best does not exist", "", "try: a new run: this one is finished"]),
    ("only one checkpoint is damaged", |home| { change(home, "run/checkpoints/best/params.safetensors", |bytes| { bytes[5000] ^= 1 }) },
        "predict run 1", 3,
        ["run/checkpoints/best is damaged", "SHA-256", "eval run --checkpoint last`"]),
    ("an invalid record", |home| change(home, "run/metrics.jsonl", |bytes| bytes[0] = b'x'),
        "plot run", 1,
        ["line 1 of run/metrics.jsonl", "expected value at line 1", "try: `sed -i 1d run/metrics.jsonl`"]),
    ("an invalid record in a run to resume", |home| change(home, "begun/metrics.jsonl", |bytes| bytes[0] = b'x'),
        "resume begun", 1,
        ["line 1 of begun/metrics.jsonl", "expected value at line 1", "try: `sed -i 1d begun/metrics.jsonl`"]),
    ("a folder for records", |home| { remove(home, "run/metrics.jsonl"); fs::create_dir(home.join("run/metrics.jsonl")).unwrap() },
        "plot run", 1,
        ["run/metrics.jsonl", "is a folder, not a regular file", "try: restore the original"]),
    ("an invalid lengths.json", |home| write(home, "run/lengths.json", b"<html>"),
        "eval run --lengths 3", 1,
        ["run/lengths.json is not a valid record", "expected value", "mv run/lengths.json run/lengths.json.bad"]),
    // Texts.
    ("no corpus", |home| remove(home, "corpus"),
        "train --config text.toml", 1,
        ["corpus/train.src", "No such file", "`s2s data export` writes an example"]),
    ("an empty text", |home| write(home, "corpus/dev.src", b""),
        "train --config text.toml", 1,
        ["corpus/dev.src has 0 lines", "expected 1 to", "`wc -l corpus/dev.src`"]),
    ("a header without pairs", |home| write(home, "t.csv", b"from,to\n"),
        "data show --set data.file=t.csv", 1,
        ["t.csv has only a header", "", "try: a table with pairs below the header"]),
    ("text for a run on numbers", |home| write(home, "t.tsv", b"1\t2\ndrei\t3\n"),
        "eval run --data t.tsv", 1,
        ["t.tsv, pair 2: source: token \"drei\" is not a number", "expected 1 to 10", "try: pairs of numbers, as `s2s data export` writes them"]),
    ("texts of different length", |home| write(home, "corpus/dev.trg", b"1\n"),
        "train --config text.toml", 1,
        ["corpus/dev.src has 60 lines", "corpus/dev.trg has 1", "`paste corpus/dev.src corpus/dev.trg`"]),
    ("a line of invalid UTF-8", |home| write(home, "corpus/train.trg", b"1\n2 \xff\n"),
        "train --config text.toml", 1,
        ["corpus/train.trg, line 2", "byte 3 of the line is not UTF-8", "`sed -n 2p corpus/train.trg`"]),
    ("an empty line", |home| write(home, "corpus/test.src", b"1\n\n"),
        "train --config text.toml", 1,
        ["corpus/test.src, line 2", "the line is empty", "`sed -n 2p corpus/test.src`"]),
    ("a reserved token", |home| write(home, "corpus/train.src", b"</s>\n"),
        "train --config text.toml", 1,
        ["corpus/train.src, line 1", "is reserved", "rename it"]),
    ("an existing corpus", nothing,
        "data export corpus", 2,
        ["corpus/train.src already exists", "nothing was written", "use --force to replace it"]),
    ("an endless split", nothing,
        "data export c --set data.train_samples=0 --set train.max_steps=9", 2,
        ["the training split", "is endless", "set data.train_samples"]),
    // Input.
    ("no input", nothing,
        "predict run --file nope", 1,
        ["cannot read nope", "No such file", "try: `ls -ld nope`"]),
    ("a folder of input", nothing,
        "predict run --file corpus", 1,
        ["cannot read corpus", "Is a directory", "try: the path of a regular file"]),
    ("a token outside the vocabulary", nothing,
        "predict run 1 99", 1,
        ["error: token 99", "outside the vocabulary", "expected 1 to 10"]),
    ("a word", nothing,
        "predict run drei", 1,
        ["error: token \"drei\"", "is not a number", "expected 1 to 10"]),
    ("input of invalid UTF-8", |home| write(home, "in", b"1\n\xff\n"),
        "predict run --file in", 1,
        ["error: line 2", "not valid UTF-8", ""]),
    ("a NUL in the input", |home| write(home, "in", b"1\0\n"),
        "predict run --file in", 1,
        ["error: line 1: token \"1\\0\"", "is not a number", "expected 1 to 10"]),
    ("an endless line", |home| write(home, "in", &[b'1'; 20_000_000]),
        "predict run --file in", 1,
        ["error: line 1", "too long: 20000000 bytes, but the limit is 1000000 tokens", "split the line"]),
    ("too long for attention", |home| write(home, "in", "1 ".repeat(1025).as_bytes()),
        "predict run --attention --file in", 1,
        ["error: line 1", "too long: 1025 tokens, but the limit is 1024 tokens", "remove --attention"]),
];

pub(crate) fn nothing(_: &Path) {}

pub(crate) fn write(home: &Path, name: &str, bytes: &[u8]) {
    let path = home.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn append(home: &Path, name: &str, text: &str) {
    change(home, name, |bytes| bytes.extend(text.as_bytes()));
}

pub(crate) fn change(home: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(home.join(name)).unwrap();
    change(&mut bytes);
    fs::write(home.join(name), bytes).unwrap();
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut replaced = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    assert!(rest.len() < bytes.len(), "nothing to replace");
    replaced.extend_from_slice(rest);
    *bytes = replaced;
}

pub(crate) fn remove(home: &Path, name: &str) {
    let path = home.join(name);
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

/// Sets the checksum of `data.pkl` in [`STATE_DICT`] to 0: PyTorch can save without checksums.
fn without_checksum(bytes: &mut [u8]) {
    const CHECKSUM: [u8; 4] = [0x4e, 0xba, 0xac, 0xf9];
    let places = bytes.windows(4).enumerate();
    let places: Vec<usize> = places
        .filter_map(|(at, found)| (found == CHECKSUM).then_some(at))
        .collect();
    assert_eq!(places.len(), 2); // of the file, and in the directory
    for at in places {
        bytes[at..at + 4].fill(0);
    }
}

/// The header of an export in a format that does not exist yet.
fn foreign_export() -> Vec<u8> {
    let config = r#"{\"format\": 2, \"output_limit\": 3}"#;
    let header = format!(r#"{{"__metadata__":{{"config":"{config}"}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

pub(crate) fn link(to: &str, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

/// Makes the last parameter NaN and adjusts the manifest.
pub(crate) fn spoil(home: &Path, checkpoint: &str) {
    let path = home.join(checkpoint);
    let read = s2s_runlog::read_checkpoint(&path).unwrap();
    let mut files: Vec<(&str, Vec<u8>)> = read
        .files()
        .map(|(name, bytes)| (name, bytes.to_vec()))
        .collect();
    let params = &mut files[0].1;
    let last = params.len() - 4;
    params[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, &bytes[..]))
        .collect();
    write_checkpoint(path, &files).unwrap();
}

/// The folder in which each row of [`TABLE`] runs.
pub(crate) fn home() -> TempDir {
    let (home, run) = copy_of_trained();
    copy(&run, &home.path().join("begun"));
    fs::remove_file(home.path().join("begun/run.json")).unwrap();
    copy(
        &TRAINED_ON_TEXT.path().join("corpus"),
        &home.path().join("corpus"),
    );
    fs::copy(
        TRAINED_ON_TEXT.path().join("text.toml"),
        home.path().join("text.toml"),
    )
    .unwrap();
    home
}

#[test]
#[cfg(target_os = "linux")]
fn every_failure_has_its_exit_code_message_and_hint() {
    assert!(TABLE.len() >= 40);
    check(TABLE);
    println!("torture: {} trials", TABLE.len());
}

#[test]
#[cfg(target_os = "linux")]
fn missing_permissions_have_their_exit_code_message_and_hint() {
    let home = TempDir::new().unwrap();
    let mut command = command(home.path());
    if is_root() {
        drop_rights(home.path(), &mut command);
    }
    if command.arg("--version").output().is_err() {
        return; // the user `nobody` cannot reach the program
    }
    check(FORBIDDEN);
    println!("torture: {} trials", FORBIDDEN.len());
}

#[track_caller]
fn check(table: &[Row]) {
    let broken: Vec<String> = thread::scope(|scope| {
        let halves = table.chunks(table.len().div_ceil(2));
        let workers: Vec<_> = halves
            .map(|rows| scope.spawn(|| rows.iter().filter_map(broken).collect::<Vec<_>>()))
            .collect();
        let broken = workers.into_iter().map(|worker| worker.join().unwrap());
        broken.flatten().collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// User id of `nobody`.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Changes the owner of the folder to `nobody` and runs the command as that user.
fn drop_rights(home: &Path, command: &mut Command) {
    use std::os::unix::fs::lchown;
    use std::os::unix::process::CommandExt;
    let mut paths = vec![home.to_owned()];
    while let Some(path) = paths.pop() {
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    command.uid(NOBODY).gid(NOBODY);
}

/// Runs a row and describes how it deviates, if it does.
fn broken((name, prepare, typed, code, says): &Row) -> Option<String> {
    let home = home();
    prepare(home.path());
    let begun = RunDir::open(home.path().join("begun"));
    let _lock = (*code == 5).then(|| begun.unwrap().lock().unwrap());
    let mut command = command(home.path());
    command.args(typed.split_whitespace());
    if is_root() {
        drop_rights(home.path(), &mut command);
    }
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    let missing: Vec<&&str> = says
        .iter()
        .filter(|part| !message.contains(**part))
        .collect();
    let traces = ["panicked", "backtrace", "stack", "0x", ".rs:"];
    let is_right = output.status.code() == Some(*code)
        && missing.is_empty()
        && !traces.iter().any(|trace| message.contains(trace))
        && !home.path().join("runs").exists();
    (!is_right).then(|| {
        let status = output.status;
        format!("{name}: `s2s {typed}`: {status}, without {missing:?}:\n{message}")
    })
}

// Not failures.

/// Every command that prints, run in the same folder as the rows.
const PRINTING: [&str; 15] = [
    "--help",
    "--version",
    "train --help",
    "train --config tiny.toml --set train.max_steps=20",
    "resume run",
    "eval run",
    "eval run --json",
    "eval run --lengths 3 --samples 3",
    "predict run 1 2",
    "plot run",
    "config",
    "data show",
    "data export exported --config tiny.toml",
    "completions bash",
    "man",
];

fn printed_to(stdout: Stdio, typed: &str) -> Output {
    let home = home();
    fs::copy(TINY, home.path().join("tiny.toml")).unwrap();
    let mut command = command(home.path());
    command.args(typed.split_whitespace()).stdout(stdout);
    command.output().unwrap()
}

#[test]
fn a_closed_pipe_is_not_a_failure_for_any_command() {
    for typed in PRINTING {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = printed_to(writer.into(), typed);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{typed}: {message}");
        assert!(!message.contains("panicked"), "{typed}: {message}");
    }
    println!("torture: {} trials", PRINTING.len());
}

#[test]
fn a_full_disk_is_a_failure_for_every_command() {
    for typed in PRINTING
        .iter()
        .filter(|typed| !typed.contains("--help") && !typed.contains("--version"))
    {
        let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
            return; // exists only on Linux
        };
        let output = printed_to(full.into(), typed);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{typed}: {message}");
        for part in ["cannot write to standard output", "No space left", "try: "] {
            assert!(message.contains(part), "{typed}: no {part:?} in {message}");
        }
    }
}

#[test]
fn byte_order_marks_and_crlf_are_accepted() {
    let home = TempDir::new().unwrap();
    let plain = succeeds(crate::s2s(home.path(), ["config", "--seed", "3"]));
    for text in [
        "seed = 3",
        "\u{feff}seed = 3\n",
        "# a line\r\nseed = 3\r\n\r\n",
    ] {
        fs::write(home.path().join("c.toml"), text).unwrap();
        let read = crate::s2s(home.path(), ["config", "--config", "c.toml"]);
        assert_eq!(succeeds(read), plain, "{text:?}");
    }
    fs::write(home.path().join("c.toml"), "").unwrap();
    let empty = succeeds(crate::s2s(home.path(), ["config", "--config", "c.toml"]));
    assert_eq!(empty, succeeds(crate::s2s(home.path(), ["config"])));
}

/// As [`TABLE`], for missing permissions. If the tests run as root, the command runs as `nobody`.
#[rustfmt::skip] // three lines a row: what and before, command and code, message
const FORBIDDEN: &[Row] = &[
    ("an unreadable configuration", |home| forbid(&home.join("text.toml"), 0o000),
        "config --config text.toml", 2,
        ["reading the configuration text.toml", "Permission denied", START]),
    ("an unreadable run", |home| forbid(&home.join("run"), 0o000),
        "eval run", 1,
        ["cannot read run", "Permission denied", "try: `ls -ld run"]),
    ("a read-only run", |home| forbid(&home.join("begun"), 0o555),
        "resume begun", 1,
        ["begun/", "Permission denied", "try: "]),
    ("a read-only plots folder", |home| forbid(&home.join("run/plots"), 0o555),
        "plot run", 1,
        ["run/plots/", "Permission denied", "try: "]),
    ("a read-only working directory", |home| forbid(home, 0o555),
        "train --run-dir new", 1,
        ["cannot write new", "Permission denied", "try: fix the permissions, or choose another folder"]),
    ("an unreadable checkpoint", |home| forbid(&home.join("run/checkpoints/best/params.safetensors"), 0o000),
        "predict run 1", 3,
        ["run/checkpoints/best is damaged", "params.safetensors cannot be read: Permission denied", CHECKPOINT]),
    ("unreadable records", |home| forbid(&home.join("run/metrics.jsonl"), 0o000),
        "plot run", 1,
        ["cannot read run/metrics.jsonl", "Permission denied", "try: `ls -ld run/metrics.jsonl`"]),
    ("unreadable input", |home| forbid(&home.join("text.toml"), 0o000),
        "predict run --file text.toml", 1,
        ["cannot read text.toml", "Permission denied", "try: `ls -ld text.toml`"]),
    ("an unreadable corpus", |home| forbid(&home.join("corpus/dev.trg"), 0o000),
        "train --config text.toml --run-dir run/new", 1,
        ["corpus/dev.trg", "Permission denied", "`s2s data export` writes an example"]),
];

fn forbid(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_checkpoint_with_nan_can_be_evaluated_on_request() {
    let home = home();
    spoil(home.path(), "run/checkpoints/best");
    let looked = ["eval", "run", "--allow-nonfinite", "--json"];
    let line = succeeds(crate::s2s(home.path(), looked));
    assert!(line.contains("\"loss\":null"), "{line}");
}

#[test]
#[cfg(target_os = "linux")]
fn paths_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = TempDir::new().unwrap();
    let name = OsStr::from_bytes(b"r\xffn");
    copy(&home_of_trained().join("run"), &home.path().join(name));
    for before in [
        &["eval"][..],
        &["predict", "--json", "--file", "/dev/null"],
        &["plot"],
        &["resume"],
    ] {
        let output = command(home.path())
            .args(before)
            .arg(name)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{before:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = command(home.path())
        .args(["train", "--run-dir"])
        .arg(name)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(r"resume $'r\xffn'`"), "{message}");
}
