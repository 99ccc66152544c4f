#!/usr/bin/env python3
"""A sequence-to-sequence model with attention, in ONNX.

    pip install onnxruntime                 and regex, for characters beyond ASCII
    python generate.py 3 1 4                the answer to one sequence
    python generate.py < sequences.txt      one answer per line

It reads config.json, vocab.json, encoder.onnx and decoder_step.onnx beside it. From Python:

    import generate
    tokens, model = generate.load()
    [answer] = generate.greedy(model, tokens, [tokens.ids("3 1 4")])
    print(tokens.line(answer.tokens), answer.log_probs, answer.weights)

encoder.onnx runs once per batch. Its outputs, with the token BOS, are the inputs of the first decoder step:

    source [B,S], lengths [B]  ->  hidden, (cell), (vector), weights, values, (keys), mask
    token [B] and these        ->  logits [B,V], next_hidden, (next_cell), (next_vector), next_weights [B,S]
"""

import codecs
import json
import os
import re
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import onnxruntime

Answer = namedtuple("Answer", "tokens log_probs weights")  # tokens without EOS; [T] and [T,S] with it
Model = namedtuple("Model", "encoder decoder_step")


# tokens.py


def run(session, inputs):
    """The outputs of a session by the names that the next step reads; inputs that it does not have are ignored."""
    wanted = {value.name for value in session.get_inputs()}
    outputs = session.run(None, {name: value for name, value in inputs.items() if name in wanted})
    return dict(zip((value.name.removeprefix("next_") for value in session.get_outputs()), outputs))


def greedy(model, tokens, sources):
    """The most likely token at each step, until EOS or the limit. `sources` are lists of token IDs."""
    if not sources:
        return []
    lengths = np.array([len(source) for source in sources])
    padded = np.full((len(sources), lengths.max()), tokens.pad)
    for row, source in zip(padded, sources):
        row[:len(source)] = source
    limits = [tokens.limit(len(source)) for source in sources]
    state = run(model.encoder, dict(source=padded, lengths=lengths))
    fed = np.full(len(sources), tokens.bos)
    rows, done = [Answer([], [], []) for _ in sources], [False] * len(sources)
    while not all(done):
        state |= run(model.decoder_step, state | dict(token=fed))
        logits = state["logits"]
        fed = logits.argmax(-1)
        highest = logits.max(-1)
        log_probs = -np.log(np.exp(logits - highest[:, None]).sum(-1))  # of the token with the highest logit
        for b, row in enumerate(rows):
            if not done[b]:
                row.log_probs.append(float(log_probs[b]))
                row.weights.append(state["weights"][b, :lengths[b]].tolist())
                if fed[b] != tokens.eos:
                    row.tokens.append(int(fed[b]))
                done[b] = bool(fed[b] == tokens.eos) or len(row.log_probs) == limits[b]
    return rows


def load(folder=Path(__file__).parent):
    """The tokens and the model, ready to answer."""
    folder = Path(folder)
    encoder, decoder_step = (onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
                             for name in ("encoder.onnx", "decoder_step.onnx"))
    return Tokens(folder), Model(encoder, decoder_step)


if __name__ == "__main__":
    tokens, model = load()
    sys.exit(answer(tokens, lambda sources: greedy(model, tokens, sources)))
