#!/usr/bin/env python3
"""Checks exports against s2s: for every cell and every attention mechanism, the same tokens and probabilities.

    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6 onnx onnxruntime regex
    cargo build --release -p s2s-cli
    .venv/bin/python scripts/check_export.py target/release/s2s

For each case it trains a small run, exports it for PyTorch and for onnxruntime, and asks all three programs for
1,000 sequences: the tokens must be identical, the probabilities of the output tokens equal within 1e-5, and the
attention weights within 3e-5. Then it imports the weights back, as safetensors and as a state dict of torch.save.

    .venv/bin/python scripts/check_export.py golden FOLDER

checks the exports that a test of s2s-weights wrote to FOLDER, and writes what the test compares them with in CI,
where there is no PyTorch.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import torch

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "crates/s2s-weights/tests/golden.json"
TOLERANCE = 1e-5  # of probabilities
# Of attention weights: those of NTM addressing pass through a logarithm at every step, which amplifies rounding. s2s
# and PyTorch each differ by up to 1.3e-5 from the same model in double precision.
WEIGHTS_TOLERANCE = 3e-5
SMALL = {"data.vocab": 12, "data.max_len": 9, "data.val_samples": 100, "data.test_samples": 100, "model.embedding": 12,
         "model.hidden": 14, "model.decoder": 18, "train.max_steps": 150, "train.epochs": 0, "train.eval_every": 150}
ATTENTIONS = {
    "additive": dict(kind="additive", units=16),
    "dot": dict(kind="dot", scaled=False),
    "dot-scaled": dict(kind="dot", scaled=True),
    "general": dict(kind="general"),
    "location": dict(kind="location", units=16, filters=3, width=5, start="zeros"),
    "location-first": dict(kind="location", units=16, filters=3, width=4, start="first"),
    "dynamic-convolution": dict(kind="dynamic-convolution", units=16, filters=3, width=4, start="last"),
    "ntm": dict(kind="ntm", units=16, start="zeros"),
    "ntm-first": dict(kind="ntm", units=16, start="first"),
    "location-relative": dict(kind="location-relative", units=16, start="last"),
    "none": dict(kind="none"),
}


def cases():
    """Names and settings: every cell with every mechanism, and one of each with other parts."""
    for cell in ("gru", "lstm"):
        for name, attention in ATTENTIONS.items():
            settings = {"model.cell": cell, "model.attention": attention}
            yield f"{cell}-{name}", settings | ({"model.decoder": 28} if attention["kind"] == "dot" else {})
        others = {"two-layers": {"model.layers": 2, "model.dropout": 0.1},
                  "concat": {"model.bridge": "concat", "model.decoder": 28},
                  "last": {"model.bridge": "last", "model.decoder": 14},
                  "zero": {"model.bridge": "zero", "model.decoder": 31},
                  "markers": {"data.source_markers": True},
                  "residual": {"model.layers": 2, "model.residual": True, "model.dropout": 0.1},
                  "layer-norm": {"model.layers": 3, "model.layer_norm": True},
                  "input-feeding": {"model.input_feeding": True},
                  "all-options": {"model.layers": 3, "model.residual": True, "model.layer_norm": True,
                                  "model.input_feeding": True}}
        for name, settings in others.items():
            yield f"{cell}-{name}", {"model.cell": cell, "model.attention": ATTENTIONS["additive"]} | settings


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def run(*command, **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")
    return result.stdout


def program(folder, name):
    """The Python program of an export, as a module."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name}".replace("-", "_"), folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(folder, name, lines, batch_size=50):
    """What the program of an export answers to lines."""
    module = program(folder, name)
    tokens, model = module.load()
    sources = [tokens.ids(line) for line in lines]
    parts = (sources[i:i + batch_size] for i in range(0, len(sources), batch_size))
    return tokens, [answer for part in parts for answer in module.greedy(model, tokens, part)]


def compare(records, tokens, found, what):
    """The largest difference of probabilities. The tokens must be equal."""
    largest, of_weights = 0.0, 0.0
    for number, (record, answer) in enumerate(zip(records, found, strict=True), 1):
        texts = [tokens.texts[i] for i in answer.tokens]
        assert [str(token) for token in record["prediction"]] == texts, f"{what}: line {number} differs"
        pairs = zip(record["probabilities"], map(math.exp, answer.log_probs), strict=True)
        largest = max(largest, *(abs(a - b) for a, b in pairs))
        for row, other in zip(record.get("weights", []), answer.weights, strict="weights" in record):
            of_weights = max(of_weights, *(abs(a - b) for a, b in zip(row, other, strict=True)))
    assert largest <= TOLERANCE and of_weights <= WEIGHTS_TOLERANCE, f"{what}: differs by {largest}, {of_weights}"
    return largest


def check(s2s, home, name, lines, run_dir):
    """Exports a run, and compares both exports and both imports with it."""
    text = "".join(line + "\n" for line in lines)
    has_attention = not name.endswith("none")
    ask = [s2s, "predict", run_dir, "--json", *(["--attention"] if has_attention else [])]
    records = [json.loads(line) for line in run(*ask, input=text).splitlines()]
    for format_, program_name in (("pytorch", "model"), ("onnx", "generate")):
        folder = home / f"{name}-{format_}"
        run(s2s, "export", run_dir, "--to", folder, "--format", format_)
        for file in folder.glob("*.onnx"):
            onnx.checker.check_model(str(file), full_check=True)
        tokens, found = answers(folder, program_name, lines)
        yield format_, compare(records, tokens, found, f"{name} {format_}")
        some = "".join(line + "\n" for line in lines[:20])
        plain = run(sys.executable, folder / f"{program_name}.py", input=some)
        expected = run(s2s, "predict", run_dir, input=some)
        assert plain == expected, f"{name}: {program_name}.py prints something else"
        unreadable = subprocess.run([sys.executable, folder / f"{program_name}.py"], input=b"\xff\n" + some.encode(),
                                    capture_output=True)
        assert unreadable.stdout.decode() == "\n" + expected, f"{name}: a line that is not UTF-8 affects others"
        assert unreadable.returncode == 1 and b"line 1: not valid UTF-8" in unreadable.stderr, unreadable.stderr

    exported = home / f"{name}-pytorch" / "model.safetensors"
    again = home / f"{name}-again"
    run(s2s, "import", exported, "--run-dir", again)
    import safetensors.torch
    state = home / f"{name}.pt"
    torch.save({key: value.double() for key, value in safetensors.torch.load_file(exported).items()}, state)
    from_state = home / f"{name}-state"
    config = again / "config.resolved.toml"
    vocabulary = home / f"{name}.vocab"
    vocab = []
    if tokens.kind in ("words", "chars"):  # the bytes are known
        vocabulary.write_text("".join(text + "\n" for text in tokens.texts[2:-2]), "utf-8")
        vocab = ["--vocab", vocabulary]
    run(s2s, "import", state, "--config", config, "--cast", "--run-dir", from_state, *vocab)
    for copy in (again, from_state):
        ask[2] = copy
        assert [json.loads(line) for line in run(*ask, input=text).splitlines()] == records, f"{copy} differs"


def lines_of(n, generator):
    """Sequences of the lengths in training. Beyond them, errors of rounding grow where weights feed back."""
    return [" ".join(str(generator.randint(1, 11)) for _ in range(generator.randint(1, 9))) for _ in range(n)]


def check_all(s2s, n, only):
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        for name, settings in cases():
            if only and only not in name:
                continue
            sets = [word for key, value in (SMALL | settings).items() for word in ("--set", f"{key}={toml(value)}")]
            run(s2s, "train", "--run-dir", home / name, *sets)
            lines = lines_of(n, random.Random(name))
            print(json.dumps(dict(case=name, sequences=n) | dict(check(s2s, home, name, lines, home / name))), flush=True)
        for kind in ("words", "chars", "bytes"):
            if only and only not in f"text-{kind}":
                continue
            name = f"text-{kind}"
            generator = random.Random(name)
            words = ["alpha", "béta", "γάμμα", "it's", "\u0065\u0301t\u00e9", "x,y", "🇫🇷"]
            texts = sorted({" ".join(generator.choices(words, k=generator.randint(1, 4))) for _ in range(600)})
            table = home / f"{name}.tsv"
            table.write_text("".join(f"{text}\t{' '.join(reversed(text.split()))}\n" for text in texts), "utf-8")
            sets = {"data.file": str(table), "data.tokens": kind, "train.max_steps": 150, "train.eval_every": 150,
                    "model.hidden": 14, "model.decoder": 18, "model.embedding": 12}
            sets = [word for key, value in sets.items() for word in ("--set", f"{key}={toml(value)}")]
            run(s2s, "train", "--run-dir", home / name, *sets)
            lines = (texts + ["Unknown ñ words", "  alpha\tbéta  "])[:n]
            print(json.dumps(dict(case=name, sequences=len(lines)) | dict(check(s2s, home, name, lines, home / name))),
                  flush=True)


def read_by_programs(path):
    """The part of a config.json that model.py and generate.py read."""
    config = json.loads(path.read_text())
    config["experiment"] = {"model": config["experiment"]["model"]}
    return config


def without_header(path):
    """The bytes of a file; of safetensors only the weights, since its header repeats the configuration."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little"):] if path.suffix == ".safetensors" else data


def golden(folder):
    """What the exports in a folder answer, with the hashes of their files."""
    verified = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        lines = lines_of(4, random.Random(case.name))
        tokens, by_torch = answers(case / "pytorch", "model", lines)
        _, by_onnx = answers(case / "onnx", "generate", lines)
        records = [dict(prediction=[tokens.texts[i] for i in answer.tokens],
                        probabilities=[math.exp(x) for x in answer.log_probs], weights=answer.weights)
                   for answer in by_torch]
        largest = compare(records, tokens, by_onnx, case.name)
        files = (path for path in sorted(case.glob("*/*"))
                 if path.is_file() and path.name not in ("README.md", "config.json"))
        verified[case.name] = dict(
            lines=lines, tokens=[answer.tokens for answer in by_torch],
            log_probs=[[round(x, 7) for x in answer.log_probs] for answer in by_torch],
            config=read_by_programs(case / "pytorch" / "config.json"),
            sha256={f"{path.parent.name}/{path.name}": hashlib.sha256(without_header(path)).hexdigest() for path in files})
        print(json.dumps(dict(case=case.name, onnx=largest)))
    cases = (f"{json.dumps(name)}: {json.dumps(case)}" for name, case in verified.items())
    GOLDEN.write_text("{\n" + ",\n".join(cases) + "\n}\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("program", help="the program s2s, or `golden`")
    p.add_argument("folder", nargs="?", type=Path, help="with `golden`: the exports")
    p.add_argument("-n", type=int, default=1000, help="sequences of each case")
    p.add_argument("--only", help="cases whose name contains this")
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.program == "golden":
        golden(a.folder)
    else:
        check_all(Path(a.program).absolute(), a.n, a.only)


if __name__ == "__main__":
    main()
