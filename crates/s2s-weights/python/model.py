#!/usr/bin/env python3
"""A sequence-to-sequence model with attention, in PyTorch.

    pip install torch safetensors        and regex, for characters beyond ASCII
    python model.py 3 1 4                the answer to one sequence
    python model.py < sequences.txt      one answer per line

It reads config.json, vocab.json and model.safetensors beside it. From Python:

    import model
    tokens, network = model.load()
    [answer] = model.greedy(network, tokens, [tokens.ids("3 1 4")])
    print(tokens.line(answer.tokens), answer.log_probs, answer.weights)

Shapes: B rows, S source tokens, T target tokens, E embedding, H encoder units per direction, D decoder units,
A attention units, V tokens. Parameters have the names and the layout of PyTorch's modules.
"""

import codecs
import json
import os
import re
import sys
from collections import namedtuple
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

Answer = namedtuple("Answer", "tokens log_probs weights")  # tokens without EOS; [T] and [T,S] with it


# tokens.py


class Attention(nn.Module):
    """Attention weights from scores. `previous` [B,S] are the weights of the step before; `mask` [B,S] is true
    where a source token is."""

    start = "zeros"  # where the weights are before the first step

    def prepare(self, values):
        """What is computed once per sequence, from the encoder's values [B,S,2H]."""
        return values

    def weights(self, state, keys, previous, mask):
        """[B,S], from the decoder's state [B,D]."""
        return masked_softmax(self.scores(state, keys, previous, mask), mask)

    def first_weights(self, mask):
        positions = torch.arange(mask.shape[1], device=mask.device)
        start = {"zeros": -1, "first": 0, "last": mask.sum(1, keepdim=True) - 1}[self.start]
        return (positions == start).expand_as(mask)


def masked_softmax(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), -1)


class Additive(Attention):
    """score[s] = energy . tanh(W state + b + U value[s]). Bahdanau et al., arXiv:1409.0473."""

    def __init__(self, values, state, units):
        super().__init__()
        self.query = nn.Linear(state, units)
        self.key = nn.Linear(values, units, bias=False)
        self.energy = nn.Parameter(torch.empty(units).uniform_(-0.1, 0.1))

    def prepare(self, values):
        return self.key(values)

    def scores(self, state, keys, previous, mask):
        return torch.tanh(self.query(state).unsqueeze(1) + keys) @ self.energy


class Dot(Attention):
    """score[s] = state . value[s], over the root of the width if scaled. Luong et al., arXiv:1508.04025."""

    def __init__(self, values, state, scaled=False):
        super().__init__()
        self.scale = state ** -0.5 if scaled else 1.0

    def scores(self, state, keys, previous, mask):
        return (keys @ (state * self.scale).unsqueeze(2)).squeeze(2)


class General(Dot):
    """score[s] = state . W value[s]. Luong et al."""

    def __init__(self, values, state):
        super().__init__(values, state)
        self.key = nn.Linear(values, state, bias=False)

    def prepare(self, values):
        return self.key(values)


def windows(weights, width):
    """[B,S,width]: the weights around each position, 0 beyond both ends; tap width // 2 is the position itself."""
    return F.pad(weights, (width // 2, width - 1 - width // 2)).unfold(1, width, 1)


class Location(Additive):
    """score[s] = energy . tanh(W state + b + U value[s] + L features[s]), where the features are filters over the
    previous weights. Chorowski et al., arXiv:1506.07503."""

    def __init__(self, values, state, units, filters, width, start):
        super().__init__(values, state, units)
        self.filters = nn.Parameter(torch.randn(filters, width))
        self.location = nn.Linear(filters, units, bias=False)
        self.start = start

    def scores(self, state, keys, previous, mask):
        features = windows(previous, self.filters.shape[1]) @ self.filters.T
        return super().scores(state, keys + self.location(features), previous, mask)


class DynamicConvolution(Attention):
    """score[s] = energy . tanh(L features[s] + l), where the state chooses half of the filters.
    Battenberg et al., arXiv:1910.10288."""

    def __init__(self, values, state, units, filters, width, start):
        super().__init__()
        self.query = nn.Linear(state, units)
        self.dynamic = nn.Linear(units, filters * width, bias=False)
        self.filters = nn.Parameter(torch.randn(filters, width))
        self.location = nn.Linear(2 * filters, units)
        self.energy = nn.Parameter(torch.empty(units).uniform_(-0.1, 0.1))
        self.start = start

    def scores(self, state, keys, previous, mask):
        dynamic = self.dynamic(torch.tanh(self.query(state))).view(-1, *self.filters.shape)
        around = windows(previous, self.filters.shape[1])
        features = torch.cat([around @ self.filters.T, around @ dynamic.mT], -1)
        return torch.tanh(self.location(features)) @ self.energy


class Shifting(Additive):
    """Moves weights by one position at most, and sharpens them. Graves et al., arXiv:1410.5401."""

    def __init__(self, values, state, units, start):
        super().__init__(values, state, units)
        self.shift = nn.Linear(state, 3)
        self.sharpen = nn.Linear(state, 1)
        self.start = start

    def moved(self, state, weights):
        kernel = torch.softmax(self.shift(state), -1)  # [B,3]: offsets -1, 0, +1
        shifted = (windows(weights, 3) @ kernel.flip(1).unsqueeze(2)).squeeze(2)
        return (1 + F.softplus(self.sharpen(state))) * torch.log(shifted + 1e-8)


class Ntm(Shifting):
    """A gate mixes content and the previous weights, which then shift. Graves et al."""

    def __init__(self, values, state, units, start):
        super().__init__(values, state, units, start)
        self.gate = nn.Linear(state, 1)

    def scores(self, state, keys, previous, mask):
        content = masked_softmax(super().scores(state, keys, previous, mask), mask)
        gate = torch.sigmoid(self.gate(state))
        return self.moved(state, previous + gate * (content - previous))


class LocationRelative(Shifting):
    """Additive scores, with the previous weights, shifted, as a prior."""

    def scores(self, state, keys, previous, mask):
        return self.moved(state, previous) + super().scores(state, keys, previous, mask)


class NoAttention(Attention):
    """All weights are 0: the decoder sees the source through the bridge alone."""

    def __init__(self, values, state):
        super().__init__()

    def weights(self, state, keys, previous, mask):
        return torch.zeros_like(previous)


ATTENTIONS = {"additive": Additive, "dot": Dot, "general": General, "location": Location,
              "dynamic-convolution": DynamicConvolution, "ntm": Ntm, "location-relative": LocationRelative,
              "none": NoAttention}
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class Bridge(nn.Linear):
    """tanh(W [forward; backward] + b), and for an LSTM's cell state a map of its own."""

    def __init__(self, values, state, cell):
        super().__init__(values, state)
        if cell == "lstm":
            self.cell = nn.Linear(values, state)


def run_stack(part, residual, x, state=None):
    """part["rnn"], an nn.GRU or nn.LSTM, with connections between its layers: each passes norm(states + output below) on,
    with the sum above the first layer and the norms of part["norm"] below the top. x is packed or [B,T,I]."""
    rnn, norms, packed = part["rnn"], part["norm"], isinstance(x, nn.utils.rnn.PackedSequence)
    if not residual and not norms:
        return rnn(x, state)
    is_lstm, directions = isinstance(rnn, nn.LSTM), 2 if rnn.bidirectional else 1
    if state is None:
        rows = x.batch_sizes[0] if packed else len(x)
        zeros = rnn.weight_hh_l0.new_zeros(rnn.num_layers * directions, rows, rnn.hidden_size)
        state = (zeros, zeros) if is_lstm else zeros
    layer, y, last = torch.lstm if is_lstm else torch.gru, x.data if packed else x, []
    for k in range(rnn.num_layers):
        own = slice(k * directions, (k + 1) * directions)
        first = tuple(vector[own].contiguous() for vector in state) if is_lstm else state[own].contiguous()
        read = F.dropout(y, rnn.dropout, rnn.training) if k else y
        weights = [weight for direction in rnn.all_weights[own] for weight in direction]
        options = (first, weights, True, 1, 0.0, rnn.training, rnn.bidirectional)
        states, *after = layer(read, x.batch_sizes, *options) if packed else layer(read, *options, True)
        states = states + y if residual and k else states
        y = norms[k](states) if k < len(norms) else states
        last.append(after)
    last = tuple(torch.cat(vector) for vector in zip(*last))
    if packed:  # its rows are sorted by length
        y, last = x._replace(data=y), tuple(vector[:, x.unsorted_indices] for vector in last)
    return y, last if is_lstm else last[0]


class Seq2Seq(nn.Module):
    """A bidirectional encoder, and a decoder that attends to it at every step: before its cells, whose input has the
    context; or with input feeding after them, whose input has the attentional vector of the step before."""

    def __init__(self, config, n_tokens):
        super().__init__()
        e, h, d, layers = config["embedding"], config["hidden"], config["decoder"], config["layers"]
        rnn = CELLS[config["cell"]]
        sizes = dict(num_layers=layers, batch_first=True, dropout=config["dropout"])
        self.units, self.layers, self.bridge_kind = d, layers, config["bridge"]
        self.dropout = nn.Dropout(config["embedding_dropout"])
        self.residual, self.feeding = config["residual"], config["input_feeding"]
        norms = (lambda width: nn.ModuleList(nn.LayerNorm(width) for _ in range(layers - 1 if config["layer_norm"] else 0)))
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(n_tokens, e),
                                      "rnn": rnn(e, h, bidirectional=True, **sizes), "norm": norms(2 * h)})
        self.bridge = nn.ModuleList(Bridge(2 * h, d, config["cell"])
                                    for _ in range(layers if self.bridge_kind == "tanh" else 0))
        options = dict(config["attention"])
        self.attention = ATTENTIONS[options.pop("kind")](2 * h, d, **options)
        fed, read = (d, d) if self.feeding else (2 * h, d + 2 * h)
        self.decoder = nn.ModuleDict({"embedding": nn.Embedding(n_tokens, e), "rnn": rnn(e + fed, d, **sizes),
                                      "norm": norms(d), "output": nn.Linear(read, n_tokens)})
        if self.feeding:
            self.decoder["attentional"] = nn.Linear(d + 2 * h, d)

    def encode(self, source, lengths):
        """From source [B,S] and lengths [B] (on the CPU): the values [B,S,2H], 0 where padded, and the decoder's first
        state: [layers,B,D] for a GRU, a pair of those for an LSTM."""
        embedded = self.dropout(self.encoder["embedding"](source))
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        values, last = run_stack(self.encoder, self.residual, packed)
        values, _ = nn.utils.rnn.pad_packed_sequence(values, batch_first=True, total_length=source.shape[1])
        vectors = last if isinstance(last, tuple) else (last,)  # [2 layers,B,H]: both directions of each layer
        first = tuple(torch.stack([self.bridged(k, i, torch.cat([forward, backward], -1))
                                   for k, (forward, backward) in enumerate(vector.unflatten(0, (-1, 2)))])
                      for i, vector in enumerate(vectors))
        return values, first if isinstance(last, tuple) else first[0]

    def bridged(self, layer, vector, last):
        """The decoder's first h (vector 0) or c (vector 1) of a layer, from the encoder's last [B,2H]."""
        if self.bridge_kind == "tanh":
            bridge = self.bridge[layer]
            return torch.tanh(bridge.cell(last) if vector else bridge(last))
        kept = 0 if self.bridge_kind == "zero" else self.units  # "concat" keeps both directions, "last" the forward one
        return F.pad(last[:, :kept], (0, self.units - kept))

    def step(self, token, state, weights, values, keys, mask):
        """Reads tokens [B]. Returns logits [B,V], the next state and the attention weights [B,S]. The state is that of the
        layers, and the vector [B,1,D] that they read, if it is fed."""
        layers, vector = state
        embedded = self.dropout(self.decoder["embedding"](token)).unsqueeze(1)
        if not self.feeding:
            weights, context = self.attend(layers, weights, values, keys, mask)
        fed = vector if self.feeding else context
        output, layers = run_stack(self.decoder, self.residual, torch.cat([embedded, fed], -1), layers)
        if self.feeding:
            weights, context = self.attend(layers, weights, values, keys, mask)
        read = torch.cat([output, context], -1)
        if self.feeding:
            read = vector = torch.tanh(self.decoder["attentional"](read))
        return self.decoder["output"](read).squeeze(1), (layers, vector), weights

    def attend(self, layers, weights, values, keys, mask):
        """The attention weights [B,S] of the top layer's state, and the context [B,1,2H]."""
        top = (layers[0] if isinstance(layers, tuple) else layers)[-1]
        weights = self.attention.weights(top, keys, weights, mask)
        return weights, torch.bmm(weights.unsqueeze(1), values)

    def start(self, source, lengths):
        """The state, weights, values, keys and mask with which decoding starts."""
        values, layers = self.encode(source, lengths)
        state = layers, values.new_zeros(len(values), 1, self.units)
        mask = (torch.arange(source.shape[1]) < lengths.unsqueeze(1)).to(source.device)
        weights = self.attention.first_weights(mask).to(values.dtype)
        return state, weights, values, self.attention.prepare(values), mask

    def forward(self, source, lengths, target_in):
        """Teacher-forced logits [B,T,V], for training. `target_in` [B,T] starts with BOS."""
        state, weights, values, keys, mask = self.start(source, lengths)
        logits = []
        for token in target_in.unbind(1):
            out, state, weights = self.step(token, state, weights, values, keys, mask)
            logits.append(out)
        return torch.stack(logits, 1)


@torch.no_grad()
def greedy(network, tokens, sources):
    """The most likely token at each step, until EOS or the limit. `sources` are lists of token IDs."""
    if not sources:
        return []
    device = next(network.parameters()).device
    lengths = torch.tensor([len(source) for source in sources])
    source = nn.utils.rnn.pad_sequence([torch.tensor(source) for source in sources], True, tokens.pad).to(device)
    limits = [tokens.limit(len(source)) for source in sources]
    state, weights, *memory = network.start(source, lengths)
    fed = torch.full((len(sources),), tokens.bos, device=device)
    rows, done = [Answer([], [], []) for _ in sources], [False] * len(sources)
    while not all(done):
        logits, state, weights = network.step(fed, state, weights, *memory)
        log_probs, fed = torch.log_softmax(logits, -1).max(-1)
        for b, row in enumerate(rows):
            if not done[b]:
                row.log_probs.append(log_probs[b].item())
                row.weights.append(weights[b, :lengths[b]].tolist())
                if fed[b] != tokens.eos:
                    row.tokens.append(fed[b].item())
                done[b] = bool(fed[b] == tokens.eos) or len(row.log_probs) == limits[b]
    return rows


def load(folder=Path(__file__).parent):
    """The tokens and the network, ready to answer. `network.train()` turns dropout on for fine-tuning."""
    import safetensors.torch

    tokens = Tokens(Path(folder))
    network = Seq2Seq(tokens.config["experiment"]["model"], len(tokens.texts))
    network.load_state_dict(safetensors.torch.load_file(Path(folder) / "model.safetensors"))
    return tokens, network.eval()


if __name__ == "__main__":
    tokens, network = load()
    sys.exit(answer(tokens, lambda sources: greedy(network, tokens, sources)))
