#!/usr/bin/env python3
"""JoeyNMT's reversal of text, trained and decoded with the settings of its tutorial: a peer to compare with.

    python3 scripts/joeynmt_data.py corpora/joeynmt
    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 sacrebleu sacremoses sentencepiece subword-nmt matplotlib pyyaml tensorboard \\
        datasets packaging pandas pillow importlib_metadata
    .venv/bin/pip install --no-deps joeynmt==2.3.0               # it asks for an old protobuf, which it can do without
    .venv/bin/python scripts/joeynmt_peer.py corpora/joeynmt --seed 42

Uses one thread. Prints a line of JSON: seconds of training, and for greedy decoding and a beam of 5 the BLEU and the exact match
on the test file and the seconds of decoding, without those of loading. The log of JoeyNMT goes to standard error.
"""

import argparse
import json
import logging
import pathlib
import re
import sys
import tempfile
import time

import sacrebleu
import torch
import yaml
from torch.optim import lr_scheduler


class Plateau(lr_scheduler.ReduceLROnPlateau):
    """PyTorch's, which takes no `verbose` any more; JoeyNMT passes it."""

    def __init__(self, *args, verbose=None, **options):
        super().__init__(*args, **options)


lr_scheduler.ReduceLROnPlateau = Plateau

import joeynmt.builders  # noqa: E402 (after the change above)
from joeynmt.__main__ import main as joeynmt_main  # noqa: E402

joeynmt.builders.ReduceLROnPlateau = Plateau


class DecodingSeconds(logging.Handler):
    """Keeps the time of each decoding that JoeyNMT reports."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def emit(self, record):
        if found := re.search(r"Generation took ([\d.]+)", record.getMessage()):
            self.seconds.append(float(found[1]))


def settings(corpus, folder, seed, beam):
    """Those of the tutorial's configuration, except for the paths, the seed, the beam and half precision, which a CPU lacks."""
    side = {"max_length": 25, "level": "word", "voc_limit": 100, "voc_min_freq": 0}
    rnn = {"type": "recurrent", "rnn_type": "lstm", "embeddings": {"embedding_dim": 16, "scale": False}, "hidden_size": 64,
           "dropout": 0.1, "num_layers": 1}
    return {
        "name": "reversal",
        "joeynmt_version": "2.3.0",
        "data": {
            **{split: str(corpus / split) for split in ("train", "dev", "test")},
            "src": {"lang": "src", **side},
            "trg": {"lang": "trg", **side},
            "dataset_type": "plain",
        },
        "testing": {
            "n_best": 1, "beam_size": beam, "beam_alpha": 1.0, "eval_metrics": ["bleu"], "max_output_length": 30,
            "batch_size": 10, "batch_type": "sentence", "return_prob": "none", "sacrebleu_cfg": {"tokenize": "13a"},
        },
        "training": {
            "random_seed": seed, "optimizer": "adam", "learning_rate": 1e-3, "learning_rate_min": 2e-4, "weight_decay": 0.0,
            "clip_grad_norm": 1.0, "batch_size": 10, "batch_type": "sentence", "scheduling": "plateau", "patience": 5,
            "decrease_factor": 0.5, "early_stopping_metric": "bleu", "epochs": 1, "validation_freq": 1000, "logging_freq": 100,
            "model_dir": str(folder / "model"), "overwrite": True, "shuffle": True, "use_cuda": False, "fp16": False,
            "print_valid_sents": [0], "keep_best_ckpts": 2,
        },
        "model": {
            "initializer": "xavier_uniform", "embed_initializer": "normal", "embed_init_weight": 0.1, "bias_initializer": "zeros",
            "init_rnn_orthogonal": False, "lstm_forget_gate": 0.0,
            "encoder": {**rnn, "bidirectional": True},
            "decoder": {**rnn, "hidden_dropout": 0.1, "input_feeding": True, "init_hidden": "zero", "attention": "luong"},
        },
    }


def run(command, config, *options):
    """A command of JoeyNMT, with its output on standard error."""
    sys.argv, stdout = ["joeynmt", command, str(config), *map(str, options)], sys.stdout
    sys.stdout = sys.stderr
    try:
        joeynmt_main()
    finally:
        sys.stdout = stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=pathlib.Path, help="folder of joeynmt_data.py")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.set_num_threads(1)
    references = (args.corpus / "test.trg").read_text(encoding="utf-8").splitlines()
    decoding = DecodingSeconds()
    logging.getLogger("joeynmt.prediction").addHandler(decoding)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        config = folder / "config.yaml"
        results = {}
        for name, beam in (("greedy", 1), ("beam", 5)):
            config.write_text(yaml.safe_dump(settings(args.corpus, folder, args.seed, beam)))
            if not results:
                began = time.perf_counter()
                run("train", config, "--skip-test")
                results["train_secs"] = time.perf_counter() - began
            run("test", config, "--output-path", folder / name)
            outputs = (folder / f"{name}.test").read_text(encoding="utf-8").splitlines()
            results[name] = {
                "bleu": sacrebleu.corpus_bleu(outputs, [references], tokenize="13a").score,
                "exact_match": sum(map(str.__eq__, outputs, references)) / len(references),
                "secs": decoding.seconds[-1],  # the test file is decoded last
            }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
