#!/usr/bin/env python3
"""Losses with label smoothing, and their gradients, of PyTorch's CrossEntropyLoss, in double precision.

    python scripts/label_smoothing.py     # crates/s2s-model/tests/pytorch/label_smoothing.json
"""

import json
import pathlib

import torch
from torch import nn

OUT = pathlib.Path(__file__).parents[1] / "crates/s2s-model/tests/pytorch/label_smoothing.json"
PAD, EOS = 0, 6

if __name__ == "__main__":
    torch.manual_seed(0)
    targets = torch.tensor([[3, 1, 2, EOS], [4, EOS, PAD, PAD], [5, 5, EOS, PAD]])  # [B, T]
    logits = torch.randn(3, 4, 7, dtype=torch.float64).round(decimals=3)  # [B, T, V]
    cases = []
    for smoothing in [0.0, 0.1, 0.5]:
        leaf = logits.clone().requires_grad_()
        loss = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=smoothing)(leaf.flatten(0, 1), targets.flatten())
        loss.backward()
        cases.append(dict(smoothing=smoothing, loss=loss.item(), gradient=leaf.grad.flatten().tolist()))
    made = dict(
        by=f"PyTorch {torch.__version__.split('+')[0]}",
        targets=targets.flatten().tolist(),
        lengths=(targets != PAD).sum(1).tolist(),
        logits=logits.flatten().tolist(),
        cases=cases,
    )
    OUT.write_text(json.dumps(made) + "\n")
