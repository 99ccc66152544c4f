#!/usr/bin/env python3
"""A model of another PyTorch program: its weights, under its own names and in double precision, and its logits.

    python scripts/foreign_weights.py     # crates/s2s-model/tests/pytorch

A test loads the weights as docs/extending.md shows, and compares the logits.
"""

import json
import pathlib

import torch
from torch import nn

OUT = pathlib.Path(__file__).parents[1] / "crates/s2s-model/tests/pytorch"
VOCAB, BOS = 8, 6  # 0 is padding, 1 to 5 are symbols, 7 is EOS
EMBEDDING, HIDDEN, STATE, UNITS = 3, 4, 5, 6


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, EMBEDDING)
        self.gru = nn.GRU(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * HIDDEN, STATE)

    def forward(self, source):
        values, last = self.gru(self.embedding(source))
        return values, torch.tanh(self.fc(torch.cat([last[0], last[1]], -1)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(STATE + 2 * HIDDEN, UNITS)
        self.v = nn.Linear(UNITS, 1, bias=False)

    def forward(self, state, values):
        states = state.unsqueeze(1).expand(-1, values.shape[1], -1)
        scores = self.v(torch.tanh(self.attn(torch.cat([states, values], -1))))
        return (torch.softmax(scores, 1) * values).sum(1)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, EMBEDDING)
        self.attention = Attention()
        self.gru = nn.GRU(EMBEDDING + 2 * HIDDEN, STATE, batch_first=True)
        self.fc_out = nn.Linear(STATE + 2 * HIDDEN, VOCAB)

    def forward(self, token, state, values):
        context = self.attention(state, values)
        read = torch.cat([self.embedding(token), context], -1)
        output, _ = self.gru(read.unsqueeze(1), state.unsqueeze(0))
        state = output.squeeze(1)
        return self.fc_out(torch.cat([state, context], -1)), state


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.register_buffer("steps", torch.tensor(1000))  # no parameter

    def forward(self, source, target_in):
        values, state = self.encoder(source)
        logits = []
        for token in target_in.T:
            one, state = self.decoder(token, state, values)
            logits.append(one)
        return torch.stack(logits, 1)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = Model().double()
    source, target = [1, 2, 3], [3, 2, 1]
    with torch.no_grad():
        logits = model(torch.tensor([source]), torch.tensor([[BOS, *target]]))[0]
    OUT.mkdir(exist_ok=True)
    torch.save(model.state_dict(), OUT / "weights.pt")
    made = dict(by=f"PyTorch {torch.__version__.split('+')[0]}", source=source, target=target, logits=logits.tolist())
    (OUT / "logits.json").write_text(json.dumps(made) + "\n")
