#!/usr/bin/env python3
"""The same model in PyTorch: where the golden files come from, and a peer to race against.

    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    .venv/bin/python scripts/torch_peer.py golden                    # crates/s2s-model/tests/golden
    .venv/bin/python scripts/torch_peer.py step --variant tuned      # milliseconds a training step
    .venv/bin/python scripts/torch_peer.py step --device cuda --graph    # the same on a GPU, as one CUDA graph
    .venv/bin/python scripts/torch_peer.py decode --batch 256        # sequences a second, greedy
    .venv/bin/python scripts/torch_peer.py beam --batch 64           # the same with a beam of 5
    .venv/bin/python scripts/torch_peer.py sample --batch 64         # the same with random tokens
    .venv/bin/python scripts/torch_peer.py train --epochs 3          # loss and accuracy of each epoch
    .venv/bin/python scripts/torch_peer.py forward --weights W.safetensors --source "3 1 4" --config '{...}'

Every command prints lines of JSON, the last with what it found. On a noisy machine compare `cpu_ms`
on one thread, and give glibc MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=2000000000 in
the environment: PyTorch is 8-15 % faster for it.

Parameters (E embedding, H encoder units a direction, D decoder units, A attention units, V vocabulary
with its special tokens):

    encoder.embedding.weight [V,E]
    encoder.rnn.{weight_ih,weight_hh,bias_ih,bias_hh}_l{k}[_reverse]     torch.nn.GRU, gates r, z, n; or LSTM, i, f, g, o
    bridge.{k}.weight [D,2H]  bridge.{k}.bias [D]                        one a decoder layer
    bridge.{k}.cell.weight [D,2H]  bridge.{k}.cell.bias [D]              of an LSTM's cell state
    attention.query.weight [A,D]  attention.query.bias [A]  attention.key.weight [A,2H]  attention.energy [A]
                                                                         additive; the others name theirs alike
    decoder.embedding.weight [V,E]
    decoder.rnn.{weight_ih,weight_hh,bias_ih,bias_hh}_l{k}               input [embedding; context]
    decoder.output.weight [V,D+2H]  decoder.output.bias [V]              input [state; context]

With layer_norm, encoder.norm.{k}.{weight,bias} [2H] and decoder.norm.{k}.{weight,bias} [D] of each layer below the top;
with input_feeding, decoder.attentional.weight [D,D+2H] and bias [D], which makes the vector that decoder.rnn and
decoder.output read instead.

A transducer (K modes, R reach) has no bridge and no attention:

    decoder.transition.weight [K*K,2H]  decoder.transition.bias [K*K]
    decoder.kernel.weight [K*3*(2R+1),2H]  decoder.kernel.bias [K*3*(2R+1)]
    decoder.sharpness [K]
    decoder.output.weight [V,2H]  decoder.output.bias [V]  decoder.mode_output.weight [V,K]
"""

import argparse
import json
import pathlib
import platform
import random
import resource
import statistics
import time

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

PAD = 0
GOLDEN = pathlib.Path(__file__).parents[1] / "crates/s2s-model/tests/golden"
NOTEBOOK = dict(vocab=50, embedding=128, hidden=256, decoder=512, attention=dict(kind="additive", units=512), layers=2, dropout=0.25, length=12,
                lr=1e-3, clip=1.0, forcing=0.5, samples=16000, validation=4000)


def additive(units):
    return dict(kind="additive", units=units)


# Odd sizes, none equal to another, so that no axis can stand in for another. Lengths of targets count EOS.
CASES = {
    "one-layer": dict(layers=1, embedding=6, hidden=5, decoder=7, attention=additive(8), vocab=9,
                      source_lengths=[6, 1, 4], target_lengths=[3, 7, 1], forcing=1.0),
    "two-layers": dict(layers=2, embedding=7, hidden=6, decoder=9, attention=additive(5), vocab=10,
                       source_lengths=[1, 5, 8, 2], target_lengths=[8, 2, 6, 1], forcing=1.0),
    "three-layers": dict(layers=3, embedding=3, hidden=7, decoder=5, attention=additive(11), vocab=13,
                         source_lengths=[9, 9, 1, 3, 7], target_lengths=[10, 10, 2, 4, 8], forcing=1.0),
    "mixed-coins": dict(layers=2, embedding=5, hidden=4, decoder=6, attention=additive(7), vocab=11,
                        source_lengths=[7, 3, 1, 5], target_lengths=[8, 8, 5, 6], forcing=0.5),
    "double-precision": dict(layers=2, embedding=4, hidden=3, decoder=5, attention=additive(6), vocab=8,
                             source_lengths=[1, 6, 4], target_lengths=[6, 4, 5], forcing=0.5, dtype=torch.float64),
    "lstm-one-layer": dict(cell="lstm", layers=1, embedding=5, hidden=6, decoder=8, attention=additive(7), vocab=10,
                           source_lengths=[1, 6, 4], target_lengths=[7, 3, 1], forcing=1.0),
    "lstm-three-layers": dict(cell="lstm", layers=3, embedding=4, hidden=5, decoder=7, attention=additive(6), vocab=9,
                              source_lengths=[8, 1, 8, 3], target_lengths=[2, 9, 5, 1], forcing=1.0),
    "lstm-mixed-coins": dict(cell="lstm", layers=2, embedding=6, hidden=4, decoder=7, attention=additive(5), vocab=8,
                             source_lengths=[3, 7, 1, 5], target_lengths=[8, 6, 5, 8], forcing=0.5),
    "lstm-double-precision": dict(cell="lstm", layers=2, embedding=5, hidden=3, decoder=4, attention=additive(7), vocab=9,
                                  source_lengths=[4, 1, 6], target_lengths=[5, 6, 4], forcing=0.5, dtype=torch.float64),
}
# Options, each alone and all together; dropout is off in a golden file.
OPTIONS = {
    "residual": dict(residual=True),
    "layer-norm": dict(layer_norm=True, layers=3),
    "residual-layer-norm": dict(residual=True, layer_norm=True, layers=3, cell="lstm"),
    "input-feeding": dict(input_feeding=True, layers=1),
    "all": dict(residual=True, layer_norm=True, input_feeding=True, layers=3, cell="lstm"),
    "all-double": dict(residual=True, layer_norm=True, input_feeding=True, dtype=torch.float64),
    "all-location": dict(residual=True, layer_norm=True, input_feeding=True,
                         attention=dict(kind="location-relative", units=5, start="last")),
}
for name, options in OPTIONS.items():
    CASES[f"options-{name}"] = dict(
        layers=2, embedding=5, hidden=4, decoder=6, attention=additive(7), vocab=9, source_lengths=[5, 1, 7, 4],
        target_lengths=[6, 2, 7, 3], forcing=1.0) | options
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}
# One small model with each attention, in single precision as it is by default, in double otherwise; "dot" wants states as
# wide as values.
MECHANISMS = {
    "dot": dict(kind="dot", scaled=False),
    "dot-scaled": dict(kind="dot", scaled=True),
    "general": dict(kind="general"),
    "location": dict(kind="location", units=9, filters=3, width=4, start="zeros"),
    "location-last": dict(kind="location", units=7, filters=2, width=5, start="last"),
    "dynamic-convolution": dict(kind="dynamic-convolution", units=7, filters=3, width=5, start="last"),
    "dynamic-convolution-first": dict(kind="dynamic-convolution", units=9, filters=2, width=4, start="first"),
    "ntm": dict(kind="ntm", units=9, start="zeros"),
    "ntm-first": dict(kind="ntm", units=7, start="first"),
    "location-relative": dict(kind="location-relative", units=9, start="last"),
    "location-relative-zeros": dict(kind="location-relative", units=7, start="zeros"),
    "none": dict(kind="none"),
}
for name, mechanism in MECHANISMS.items():
    CASES[f"attention-{name}"] = dict(
        layers=1, embedding=5, hidden=4, decoder=8 if mechanism["kind"] == "dot" else 6, attention=mechanism, vocab=10,
        source_lengths=[5, 1, 8, 7], target_lengths=[6, 2, 9, 3], forcing=1.0,
        dtype=torch.float32 if name == mechanism["kind"] else torch.float64)


# Odd sizes; the reach is longer than some of the rows.
for name, modes, reach, dtype in (("transducer", 3, 2, torch.float32), ("transducer-double", 4, 1, torch.float64)):
    CASES[name] = dict(
        layers=1, embedding=6, hidden=5, decoder=dict(kind="transducer", modes=modes, reach=reach), vocab=9,
        source_lengths=[6, 1, 2, 9], target_lengths=[7, 3, 1, 11], forcing=1.0, dtype=dtype)


class Attention(nn.Module):
    """Weights from scores; `previous` [B,S] are the weights of the step before, `mask` [B,S] is true where real."""

    start = "zeros"

    def prepare(self, values):
        return values

    def weights(self, state, keys, previous, mask):
        return masked_softmax(self.score(state, keys, previous, mask), mask)

    def first_weights(self, mask):
        """A one at the start of each row, or nowhere."""
        positions = torch.arange(mask.shape[1], device=mask.device)
        start = {"zeros": -1, "first": 0, "last": mask.sum(1, keepdim=True) - 1}[self.start]
        return (positions == start).expand_as(mask)


def masked_softmax(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), -1)


class Additive(Attention):
    """score[s] = energy . tanh(W state + b + U value[s]), with U value computed once a sequence."""

    def __init__(self, values, state, units):
        super().__init__()
        self.query = nn.Linear(state, units)
        self.key = nn.Linear(values, units, bias=False)
        self.energy = nn.Parameter(torch.empty(units).uniform_(-0.1, 0.1))

    def prepare(self, values):
        return self.key(values)

    def score(self, state, keys, previous, mask):
        return torch.tanh(self.query(state).unsqueeze(1) + keys) @ self.energy


class LiteralAdditive(Additive):
    """The same scores as the paper writes them: every pair [state; value[s]] projected at every step."""

    def prepare(self, values):
        return values

    def score(self, state, values, previous, mask):
        pairs = torch.cat([state.unsqueeze(1).expand(-1, values.shape[1], -1), values], -1)
        weight = torch.cat([self.query.weight, self.key.weight], 1)
        return torch.tanh(F.linear(pairs, weight, self.query.bias)) @ self.energy


class Bridge(nn.Linear):
    """tanh(W [forward; backward] + b), and for an LSTM's cell state a map of its own."""

    def __init__(self, values, state, cell):
        super().__init__(values, state)
        if cell == "lstm":
            self.cell = nn.Linear(values, state)

    def maps(self):
        return [super().forward, *self.children()]


def vectors(state):
    """An LSTM's state is (h, c), a GRU's h alone."""
    return state if isinstance(state, tuple) else (state,)


class Dot(Attention):
    """score[s] = state . value[s], over the root of the width if scaled."""

    def __init__(self, values, state, scaled=False):
        super().__init__()
        self.scale = state ** -0.5 if scaled else 1.0

    def score(self, state, keys, previous, mask):
        return torch.einsum("bd,bsd->bs", state, keys) * self.scale


class General(Dot):
    """score[s] = state . W value[s]."""

    def __init__(self, values, state):
        super().__init__(values, state)
        self.key = nn.Linear(values, state, bias=False)

    def prepare(self, values):
        return self.key(values)


def convolved(weights, filters):
    """Each row's weights [B,S] through its own filters [B,N,width], to [B,S,N]; tap width // 2 sees the position itself."""
    batch, n, width = filters.shape
    padded = F.pad(weights, (width // 2, width - 1 - width // 2))
    return F.conv1d(padded.unsqueeze(0), filters.reshape(batch * n, 1, width), groups=batch).view(batch, n, -1).mT


class Location(Additive):
    """score[s] = energy . tanh(W state + b + U value[s] + L features[s]), the features filters over the previous weights."""

    def __init__(self, values, state, units, filters, width, start):
        super().__init__(values, state, units)
        self.filters = nn.Parameter(torch.randn(filters, width))
        self.location = nn.Linear(filters, units, bias=False)
        self.start = start

    def score(self, state, keys, previous, mask):
        features = convolved(previous, self.filters.expand(len(previous), -1, -1))
        return torch.tanh(self.query(state).unsqueeze(1) + keys + self.location(features)) @ self.energy


class DynamicConvolution(Attention):
    """score[s] = energy . tanh(L features[s] + l); half of the filters are the state's."""

    def __init__(self, values, state, units, filters, width, start):
        super().__init__()
        self.query = nn.Linear(state, units)
        self.dynamic = nn.Linear(units, filters * width, bias=False)
        self.filters = nn.Parameter(torch.randn(filters, width))
        self.location = nn.Linear(2 * filters, units)
        self.energy = nn.Parameter(torch.empty(units).uniform_(-0.1, 0.1))
        self.start = start

    def score(self, state, keys, previous, mask):
        dynamic = self.dynamic(torch.tanh(self.query(state))).view(-1, *self.filters.shape)
        filters = torch.cat([self.filters.expand_as(dynamic), dynamic], 1)
        return torch.tanh(self.location(convolved(previous, filters))) @ self.energy


class Shifting(Additive):
    """What NTM addressing and location-relative attention share: a shift by one at most, and a sharpening."""

    def __init__(self, values, state, units, start):
        super().__init__(values, state, units)
        self.shift = nn.Linear(state, 3)
        self.sharpen = nn.Linear(state, 1)
        self.start = start

    def moved(self, state, weights):
        kernel = torch.softmax(self.shift(state), -1)  # offsets -1, 0, +1
        around = F.pad(weights, (1, 1)).unfold(1, 3, 1)  # [B,S,3]: the positions before, at and after
        shifted = torch.einsum("bo,bso->bs", kernel.flip(1), around)
        return (1 + F.softplus(self.sharpen(state))) * torch.log(shifted + 1e-8)


class Ntm(Shifting):
    def __init__(self, values, state, units, start):
        super().__init__(values, state, units, start)
        self.gate = nn.Linear(state, 1)

    def score(self, state, keys, previous, mask):
        content = masked_softmax(super().score(state, keys, previous, mask), mask)
        gate = torch.sigmoid(self.gate(state))
        return self.moved(state, gate * content + (1 - gate) * previous)


class LocationRelative(Shifting):
    def score(self, state, keys, previous, mask):
        return self.moved(state, previous) + super().score(state, keys, previous, mask)


class NoAttention(Attention):
    def __init__(self, values, state):
        super().__init__()

    def weights(self, state, keys, previous, mask):
        return torch.zeros_like(previous)


ATTENTIONS = {"additive": Additive, "dot": Dot, "general": General, "location": Location,
              "dynamic-convolution": DynamicConvolution, "ntm": Ntm, "location-relative": LocationRelative,
              "none": NoAttention}


class Stack:
    """The layers of an nn.GRU or nn.LSTM one after another, each with what it passes on: norm(states + output below)."""

    def __init__(self, rnn, norms, residual):
        self.rnn, self.norms, self.residual = rnn, norms, residual

    def __call__(self, x, state=None):
        """Packed or padded x; a state of [layers * directions,B,H], or a pair of those, 0 if there is none."""
        rnn, packed = self.rnn, isinstance(x, nn.utils.rnn.PackedSequence)
        is_lstm, directions = isinstance(rnn, nn.LSTM), 2 if rnn.bidirectional else 1
        if state is None:
            rows = x.batch_sizes[0] if packed else len(x)
            zeros = rnn.weight_hh_l0.new_zeros(rnn.num_layers * directions, rows, rnn.hidden_size)
            state = (zeros, zeros) if is_lstm else zeros
        run, y, last = torch.lstm if is_lstm else torch.gru, x.data if packed else x, []
        for k in range(rnn.num_layers):
            own = slice(k * directions, (k + 1) * directions)
            first = tuple(vector[own].contiguous() for vector in vectors(state))
            read = F.dropout(y, rnn.dropout, rnn.training) if k else y
            start = (read, x.batch_sizes) if packed else (read,)
            options = (sum(rnn.all_weights[own], []), True, 1, 0.0, rnn.training, rnn.bidirectional)
            out, *after = run(*start, first if is_lstm else first[0], *options, *([] if packed else [True]))
            out = out + y if self.residual and k else out
            y = self.norms[k](out) if k < len(self.norms) else out
            last.append(after)
        last = tuple(torch.cat(vector) for vector in zip(*last))
        if packed:  # its rows are sorted by length
            y, last = x._replace(data=y), tuple(vector[:, x.unsorted_indices] for vector in last)
        return y, last if is_lstm else last[0]


class Seq2Seq(nn.Module):
    def __init__(self, c, attentions=ATTENTIONS):
        super().__init__()
        v, e, h, d, layers = c["vocab"] + 2, c["embedding"], c["hidden"], c["decoder"], c["layers"]
        cell = c.get("cell", "gru")
        rnn, sizes = CELLS[cell], dict(num_layers=layers, batch_first=True, dropout=c["dropout"] if layers > 1 else 0.0)
        self.bos, self.eos = c["vocab"], c["vocab"] + 1
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(v, e), "rnn": rnn(e, h, bidirectional=True, **sizes)})
        self.bridge = nn.ModuleList(Bridge(2 * h, d, cell) for _ in range(layers))
        options = dict(c["attention"])
        self.attention = attentions[options.pop("kind")](2 * h, d, **options)
        self.feeding = c.get("input_feeding", False)
        fed, read = (d, d) if self.feeding else (2 * h, d + 2 * h)
        self.decoder = nn.ModuleDict({"embedding": nn.Embedding(v, e), "rnn": rnn(e + fed, d, **sizes),
                                      "output": nn.Linear(read, v)})
        if self.feeding:
            self.decoder["attentional"] = nn.Linear(d + 2 * h, d)
        self.stacks = {}
        if c.get("layer_norm", False):
            for part, width in ((self.encoder, 2 * h), (self.decoder, d)):
                part["norm"] = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers - 1))
        if c.get("layer_norm", False) or c.get("residual", False):
            for part in (self.encoder, self.decoder):
                norms = part["norm"] if "norm" in part else []
                self.stacks[part] = Stack(part["rnn"], norms, c.get("residual", False))

    def run(self, part, x, state=None):
        if part in self.stacks:
            return self.stacks[part](x, state)
        return part["rnn"](x, state)

    def encode(self, source, lengths):
        """Values [B,S,2H], 0 where padded, and the decoder's first states, [layers,B,D] each.

        `lengths` is on the CPU, or None where no row is padded: a GPU is faster without packing.
        """
        embedded = self.encoder["embedding"](source)
        if lengths is None:
            values, last = self.run(self.encoder, embedded)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            values, last = self.run(self.encoder, packed)
            values, _ = nn.utils.rnn.pad_packed_sequence(values, batch_first=True, total_length=source.shape[1])
        maps = zip(*(bridge.maps() for bridge in self.bridge))
        state = tuple(torch.stack([torch.tanh(map_(torch.cat([forward, backward], -1)))
                                   for map_, (forward, backward) in zip(of, vector.unflatten(0, (-1, 2)))])
                      for of, vector in zip(maps, vectors(last)))  # the vectors are [layers * 2, B, H]
        state = state if isinstance(last, tuple) else state[0]
        if self.feeding:
            state = state, values.new_zeros(len(values), 1, self.decoder["rnn"].hidden_size)
        return values, state

    def begin(self, source, lengths):
        """The decoder's first states and weights, and the values, keys and mask of attention."""
        values, state = self.encode(source, lengths)
        if lengths is None:
            mask = torch.ones_like(source, dtype=torch.bool)
        else:
            mask = (torch.arange(source.shape[1]) < lengths.unsqueeze(1)).to(source.device)
        weights = self.attention.first_weights(mask).to(values.dtype)
        return state, weights, values, self.attention.prepare(values), mask

    def step(self, token, state, weights, values, keys, mask):
        """Logits [B,V], the next states and the weights [B,S]. With input feeding, the last of the states is the vector."""
        embedded = self.decoder["embedding"](token).unsqueeze(1)

        def attend(state):
            attended = self.attention.weights(vectors(state)[0][-1], keys, weights, mask)
            return attended, torch.bmm(attended.unsqueeze(1), values)  # [B, 1, 2H]

        if self.feeding:
            state, vector = state
            top, state = self.run(self.decoder, torch.cat([embedded, vector], -1), state)
            attended, context = attend(state)
            read = torch.tanh(self.decoder["attentional"](torch.cat([top, context], -1)))
            state = state, read
        else:
            attended, context = attend(state)
            top, state = self.run(self.decoder, torch.cat([embedded, context], -1), state)
            read = torch.cat([top, context], -1)
        return self.decoder["output"](read).squeeze(1), state, attended

    def forward(self, source, lengths, target_in, forced):
        """Logits [B,T,V]; at step t > 0 a row is fed the true token where forced[b,t], else its own."""
        state, weights, values, keys, mask = self.begin(source, lengths)
        token, logits = target_in[:, 0], []
        for t in range(target_in.shape[1]):
            if t > 0:
                token = torch.where(forced[:, t], target_in[:, t], logits[-1].argmax(-1))
            out, state, weights = self.step(token, state, weights, values, keys, mask)
            logits.append(out)
        return torch.stack(logits, 1)


class Transducer(nn.Module):
    """An encoder, and a head that walks over its states, steered by modes; outputs are not fed back."""

    def __init__(self, c):
        super().__init__()
        v, e, h = c["vocab"] + 2, c["embedding"], c["hidden"]
        self.modes, self.reach = c["decoder"]["modes"], c["decoder"]["reach"]
        self.bos, self.eos = c["vocab"], c["vocab"] + 1
        rnn = CELLS[c.get("cell", "gru")](e, h, num_layers=c["layers"], batch_first=True, bidirectional=True)
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(v, e), "rnn": rnn})
        moves = 3 * (2 * self.reach + 1)
        self.decoder = nn.ModuleDict({"transition": nn.Linear(2 * h, self.modes * self.modes),
                                      "kernel": nn.Linear(2 * h, self.modes * moves), "output": nn.Linear(2 * h, v),
                                      "mode_output": nn.Linear(self.modes, v, bias=False)})
        self.decoder.register_parameter("sharpness", nn.Parameter(torch.zeros(self.modes)))

    def forward(self, source, lengths, target_in, forced):
        """Logits [B,T,V]."""
        rows, length = source.shape
        packed = nn.utils.rnn.pack_padded_sequence(self.encoder["embedding"](source), lengths, batch_first=True,
                                                   enforce_sorted=False)
        values, _ = nn.utils.rnn.pad_packed_sequence(self.encoder["rnn"](packed)[0], batch_first=True, total_length=length)
        last = lengths - 1
        head = F.one_hot(torch.zeros_like(lengths), length).to(values.dtype)
        mode = F.one_hot(torch.zeros_like(lengths), self.modes).to(values.dtype)
        read, logits = values[:, 0], []
        for _ in range(target_in.shape[1]):
            transition = self.decoder["transition"](read).view(rows, self.modes, self.modes)
            transition = torch.softmax(transition + 2 * torch.eye(self.modes), -1)
            mode = (torch.einsum("bj,bjk->bk", mode, transition) + 1e-12) ** 1.5
            mode = mode / mode.sum(-1, keepdim=True)
            kernels = torch.softmax(self.decoder["kernel"](read).view(rows, self.modes, -1), -1)
            kernel = torch.einsum("bj,bjk->bk", mode, kernels).view(rows, 3, -1)
            moved = torch.zeros_like(head)
            for place, position in enumerate((torch.arange(length).expand(rows, length), torch.zeros(rows, 1).long(),
                                              last.unsqueeze(1))):
                mass = head if place == 0 else torch.ones_like(head[:, :1])
                for tap, distance in enumerate(range(-self.reach, self.reach + 1)):
                    to = (position + distance).clamp(min=0).minimum(last.unsqueeze(1))
                    moved = moved.scatter_add(1, to, mass * kernel[:, place, tap : tap + 1])
            real = torch.arange(length) < lengths.unsqueeze(1)
            head = (moved + 1e-8) ** (1 + F.softplus(mode @ self.decoder.sharpness)).unsqueeze(1) * real
            head = head / head.sum(1, keepdim=True)
            read = torch.einsum("bs,bsh->bh", head, values)
            logits.append(self.decoder["output"](read) + self.decoder["mode_output"](mode))
        return torch.stack(logits, 1)


def model_of(c):
    return Transducer(c) if isinstance(c["decoder"], dict) else Seq2Seq(c)


def loss_of(logits, target_out):
    return F.cross_entropy(logits.flatten(0, 1), target_out.flatten(), ignore_index=PAD)


def with_markers(c, target):
    """What the decoder is fed, and what it should say."""
    bos, eos = (target.new_full((len(target), 1), c["vocab"] + k) for k in (0, 1))
    return torch.cat([bos, target], 1), torch.cat([target, eos], 1)


def batch_of(c, n, generator, device="cpu"):
    """Drawn on the CPU, as `lengths` stays there; on a GPU there are none."""
    source = torch.randint(1, c["vocab"], (n, c["length"]), generator=generator)
    lengths = torch.full((n,), c["length"]) if device == "cpu" else None
    target_in, target_out = with_markers(c, source.flip(1))
    return source.to(device), lengths, target_in.to(device), target_out.to(device)


def trainer(c, variant, compiled, device="cpu", graph=False):
    """A model and the function that trains it on a batch and returns the loss."""
    torch.manual_seed(0)
    coins = random.Random(0)
    model = Seq2Seq(c, ATTENTIONS | (dict(additive=LiteralAdditive) if variant == "literal" else {})).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=c["lr"], fused=variant == "tuned", capturable=graph)
    if compiled:
        model.step = torch.compile(model.step)

    def update(source, lengths, target_in, target_out, forced):
        optimizer.zero_grad()
        loss = loss_of(model(source, lengths, target_in, forced.expand_as(target_in)), target_out)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), c["clip"])
        optimizer.step()
        return loss.detach()

    replay = captured(update) if graph else update

    def step(batch):
        forced = torch.tensor([coins.random() < c["forcing"] for _ in batch[2][0]]).to(device)
        return replay(*batch, forced).item()

    return model, step


def captured(function):
    """The function as one CUDA graph, which copies its arguments into the memory of the first call's."""
    state = []

    def call(*arguments):
        if not state:
            static = [None if x is None else x.clone() for x in arguments]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    function(*static)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = function(*static)
            state.extend([graph, static, result])
        graph, static, result = state
        for to, given in zip(static, arguments):
            if to is not None:
                to.copy_(given)
        graph.replay()
        return result

    return call


@torch.no_grad()
def greedy(model, batch, forward=None):
    source, lengths, target_in, _ = batch
    return (forward or model)(source, lengths, target_in, torch.zeros_like(target_in, dtype=torch.bool)).argmax(-1)


@torch.no_grad()
def beam(model, batch, width):
    """The most probable outputs [B,width,T] of fixed length by beam search, without EOS, and their log-probabilities.

    Rows of one source are adjacent. The first step has one row per source, as the hypotheses are still the same.
    """
    source, lengths, target_in, _ = batch
    n, steps = target_in.shape
    state, weights, values, keys, mask = model.begin(source, lengths)
    token, totals, said = target_in[:, 0], torch.zeros(n, 1), torch.zeros(n, 1, 0, dtype=torch.long)
    for t in range(steps):
        logits, state, weights = model.step(token, state, weights, values, keys, mask)
        log_probs = F.log_softmax(logits, -1)
        log_probs[:, model.eos] = -torch.inf
        live, vocab = totals.shape[1], logits.shape[1]
        totals, best = (totals.unsqueeze(2) + log_probs.view(n, live, vocab)).flatten(1).topk(width)
        parent, chosen = best // vocab, best % vocab
        said = torch.cat([said.gather(1, parent.unsqueeze(2).expand(-1, -1, t)), chosen.unsqueeze(2)], 2)
        rows = (parent + live * torch.arange(n).unsqueeze(1)).flatten()
        token, weights = chosen.flatten(), weights[rows]
        state = tuple(x[:, rows] for x in state) if isinstance(state, tuple) else state[:, rows]
        if t == 0:
            sources = torch.arange(n).repeat_interleave(width)
            values, keys, mask = values[sources], keys[sources], mask[sources]
    return said, totals


@torch.no_grad()
def sample(model, batch):
    """Random outputs [B,T] of fixed length, without EOS, and their log-probabilities."""
    source, lengths, target_in, _ = batch
    state, weights, values, keys, mask = model.begin(source, lengths)
    token, said, log_probs = target_in[:, 0], [], []
    for _ in range(target_in.shape[1]):
        logits, state, weights = model.step(token, state, weights, values, keys, mask)
        all_log_probs = F.log_softmax(logits, -1)
        chances = all_log_probs.exp()
        chances[:, model.eos] = 0
        chosen = chances.multinomial(1)
        token = chosen.squeeze(1)
        said.append(token)
        log_probs.append(all_log_probs.gather(1, chosen))
    return torch.stack(said, 1), torch.cat(log_probs, 1).sum(1)


def golden(name, case, folder):
    """Weights, a ragged batch, its logits, loss and gradients, with what made them: one small file."""
    generator = torch.Generator().manual_seed(0)
    c, draw = dict(case, dropout=0.0), dict(generator=generator)
    dtype = c.pop("dtype", torch.float32)
    model = model_of(c).to(dtype)
    for parameter in model.parameters():  # wide enough for gates that close and attention that chooses
        nn.init.normal_(parameter, std=0.7, **draw)

    def ragged(lengths):
        tokens = torch.randint(1, c["vocab"], (len(lengths), max(lengths)), **draw)
        return tokens * (torch.arange(max(lengths)) < lengths.unsqueeze(1))

    lengths, target_lengths = torch.tensor(c["source_lengths"]), torch.tensor(c["target_lengths"])
    source, target_out = ragged(lengths), ragged(target_lengths)
    target_out[range(len(target_out)), target_lengths - 1] = model.eos
    target_in = torch.cat([torch.full((len(target_out), 1), model.bos), target_out[:, :-1]], 1)
    target_in[target_in == model.eos] = PAD
    forced = torch.rand(target_in.shape, **draw) < c["forcing"]

    logits = model(source, lengths, target_in, forced)
    loss = loss_of(logits, target_out)
    loss.backward()
    best, second = logits.detach().topk(2, -1).values.unbind(-1)
    assert forced.all() or (best - second).min() > 1e-3, f"{name}: rounding could change which token is fed back"

    tensors = dict(source=source, source_lengths=lengths, target_out=target_out, target_lengths=target_lengths,
                   forced=forced.to(torch.uint8), logits=logits.detach(), loss=loss.detach())
    for parameter, value in model.named_parameters():
        tensors |= {f"weight.{parameter}": value.detach(), f"gradient.{parameter}": value.grad}
    kept = ("vocab", "cell", "layers", "embedding", "hidden", "decoder", "attention", "residual", "layer_norm", "input_feeding")
    sizes = {key: c[key] for key in kept if key in c}
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    made = dict(torch=torch.__version__, python=platform.python_version(), cpu=(cpu or [platform.machine()])[0])
    # One key, since the order of several would differ from run to run.
    file = folder / f"{name}.safetensors"
    safetensors.torch.save_file(tensors, file, dict(golden=json.dumps(sizes | made)))
    return dict(case=name, bytes=file.stat().st_size, loss=loss.item(), largest_logit=logits.abs().max().item())


def timed(call, n, device="cpu"):
    """Median and least wall time, and median CPU time of the process, in milliseconds, after warming up."""
    finish = torch.cuda.synchronize if device != "cpu" else lambda: None
    for _ in range(1 if device == "cpu" else 5):
        call()
    finish()
    wall, cpu = [], []
    for _ in range(n):
        start, spent = time.perf_counter(), time.process_time()
        call()
        finish()
        wall.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - spent))
    return dict(median_ms=statistics.median(wall), min_ms=min(wall), cpu_ms=statistics.median(cpu))


def train(c, model, step, n, epochs, data):
    """Fresh batches for as long as the training set would last, then free-running accuracy on held-out ones."""
    held = batch_of(c, c["validation"], torch.Generator().manual_seed(7))
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        losses = [step(batch_of(c, n, data)) for _ in range(c["samples"] // n)]
        model.eval()
        right = torch.cat([greedy(model, part) == part[3] for part in zip(*(x.split(250) for x in held))])
        yield dict(loss=round(statistics.mean(losses), 4), exact=right.all(1).float().mean().item(),
                   token=right.float().mean().item(), seconds=round(time.perf_counter() - start, 1))


@torch.no_grad()
def forward(c, model, source):
    """Teacher-forced logits [T,V] for reversing one sequence."""
    source = torch.tensor([source])
    target_in, _ = with_markers(c, source.flip(1))
    model.eval()
    return model(source, torch.tensor([source.shape[1]]), target_in, torch.ones_like(target_in, dtype=torch.bool))[0]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("command", choices=["golden", "step", "decode", "beam", "sample", "train", "forward"])
    p.add_argument("--variant", choices=["literal", "tuned"], default="tuned")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--device", default="cpu", help="cpu or cuda, for step and decode")
    p.add_argument("--graph", action="store_true", help="on cuda: each call as one CUDA graph")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--width", type=int, default=5, help="hypotheses of a beam")
    p.add_argument("--n", type=int, default=7, help="calls to time")
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--config", type=json.loads, default={}, help="JSON over the defaults, which are " + json.dumps(NOTEBOOK))
    p.add_argument("--weights", help="safetensors file to start from")
    p.add_argument("--source", default="", help="tokens with spaces between, for forward")
    p.add_argument("--out", type=pathlib.Path, default=GOLDEN, help="folder of the golden files")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    c = NOTEBOOK | a.config
    said = dict(command=a.command, variant=a.variant, compiled=a.compile, threads=a.threads, batch=a.batch)
    if a.device != "cpu":
        tf32 = dict(matmul=torch.backends.cuda.matmul.allow_tf32, cudnn=torch.backends.cudnn.allow_tf32)
        said |= dict(device=torch.cuda.get_device_name(a.device), graph=a.graph, torch=torch.__version__, tf32=tf32)
    data = torch.Generator().manual_seed(1)
    model, step = trainer(c, a.variant, a.compile, a.device, a.graph)
    if a.weights:
        model.load_state_dict(safetensors.torch.load_file(a.weights))
    match a.command:
        case "golden":
            a.out.mkdir(parents=True, exist_ok=True)
            said["cases"] = [golden(name, case, a.out) for name, case in CASES.items()]
        case "step":
            said |= timed(lambda: step(batch_of(c, a.batch, data, a.device)), a.n, a.device)
        case "decode":
            model.eval()
            forward = captured(model) if a.graph else model
            said |= timed(lambda: greedy(model, batch_of(c, a.batch, data, a.device), forward), a.n, a.device)
            said["sequences_per_s"] = 1e3 * a.batch / said["median_ms"]
        case "beam":
            model.eval()
            said |= timed(lambda: beam(model, batch_of(c, a.batch, data), a.width), a.n)
            said |= dict(width=a.width, sequences_per_s=1e3 * a.batch / said["median_ms"])
        case "sample":
            model.eval()
            said |= timed(lambda: sample(model, batch_of(c, a.batch, data)), a.n)
            said["sequences_per_s"] = 1e3 * a.batch / said["median_ms"]
        case "train":
            said["epochs"] = []
            for epoch in train(c, model, step, a.batch, a.epochs, data):
                print(json.dumps(epoch), flush=True)
                said["epochs"].append(epoch)
        case "forward":
            said["logits"] = forward(c, model, [int(token) for token in a.source.split()]).tolist()
    said["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(said))


if __name__ == "__main__":
    main()
