#!/usr/bin/env python3
"""The same model in JAX, each piece of work compiled as a whole: a peer to race against.

    python3 -m venv .venv
    .venv/bin/pip install jax==0.10.2 optax==0.2.8 numpy==2.4.6
    .venv/bin/python scripts/jax_peer.py step                        # milliseconds a training step
    .venv/bin/python scripts/jax_peer.py decode --batch 256          # greedy decoding
    .venv/bin/python scripts/jax_peer.py beam --batch 64             # a beam of 5
    .venv/bin/python scripts/jax_peer.py sample --batch 64           # random tokens
    .venv/bin/python scripts/jax_peer.py check                       # against torch_peer.py; also needs torch and safetensors

It has GRU cells and additive attention, and does the same work as `torch_peer.py --variant tuned`. Parameters have the
names and shapes listed there. Every command prints a line of JSON. Loops over time are `lax.scan`; compilation takes
seconds and is not timed. Run it under `taskset -c 0` and compare `cpu_ms`.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import argparse
import functools
import json
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

PAD = 0
NOTEBOOK = dict(vocab=50, embedding=128, hidden=256, decoder=512, attention=dict(kind="additive", units=512), layers=2, dropout=0.25, length=12,
                lr=1e-3, clip=1.0, forcing=0.5)


def parameters(c, random):
    """Random parameters by name, of about the sizes that PyTorch starts from."""
    v, e, h, d, a = c["vocab"] + 2, c["embedding"], c["hidden"], c["decoder"], c["attention"]["units"]
    shapes = {"encoder.embedding.weight": (v, e), "decoder.embedding.weight": (v, e), "attention.query.weight": (a, d),
              "attention.query.bias": (a,), "attention.key.weight": (a, 2 * h), "attention.energy": (a,),
              "decoder.output.weight": (v, d + 2 * h), "decoder.output.bias": (v,)}
    for k in range(c["layers"]):
        shapes |= {f"bridge.{k}.weight": (d, 2 * h), f"bridge.{k}.bias": (d,)}
        for rnn, units, read in ((f"encoder.rnn.*_l{k}", h, 2 * h if k else e), (f"encoder.rnn.*_l{k}_reverse", h, 2 * h if k else e),
                                 (f"decoder.rnn.*_l{k}", d, d if k else e + 2 * h)):
            of = dict(weight_ih=(3 * units, read), weight_hh=(3 * units, units), bias_ih=(3 * units,), bias_hh=(3 * units,))
            shapes |= {rnn.replace("*", kind): shape for kind, shape in of.items()}
    return {name: random.uniform(-1, 1, shape).astype(np.float32) / np.sqrt(shape[-1]) for name, shape in shapes.items()}


def transposed(p):
    """Matrices as [in,out], named NAME.T: for small batches, XLA is faster if it need not transpose them itself."""
    is_matrix = lambda name: p[name].ndim == 2 and "embedding" not in name
    return {f"{name}.T" if is_matrix(name) else name: x.T if is_matrix(name) else x for name, x in p.items()}


def matrix(p, name):
    return p[name].T if name in p else p[f"{name}.T"]


def linear(p, name, x):
    return x @ matrix(p, f"{name}.weight") + p[f"{name}.bias"]


def gates(p, rnn, side, x):
    """The three gates' part [..,3H] of the input (side ih) or of the state (hh)."""
    return x @ matrix(p, rnn.replace("*", f"weight_{side}")) + p[rnn.replace("*", f"bias_{side}")]


def gru(p, rnn, of_input, state):
    r, z, n = jnp.split(of_input, 3, -1)
    state_r, state_z, state_n = jnp.split(gates(p, rnn, "hh", state), 3, -1)
    r, z = jax.nn.sigmoid(r + state_r), jax.nn.sigmoid(z + state_z)
    return (1 - z) * jnp.tanh(n + r * state_n) + z * state


def dropped(x, dropout, key):
    return x if key is None else x * jax.random.bernoulli(key, 1 - dropout, x.shape) / (1 - dropout)


def encode(c, p, source, lengths, key=None):
    """Values and keys of attention, [B,S,2H] and [B,S,A], the mask [B,S], and the decoder's first states, [B,D] a layer."""
    mask = jnp.arange(source.shape[1]) < lengths[:, None]
    x, states = p["encoder.embedding.weight"][source.T], []  # [S,B,E]
    for k in range(c["layers"]):
        def direction(rnn, reverse):
            def step(state, now):
                of_input, real = now
                state = jnp.where(real[:, None], gru(p, rnn, of_input, state), state)
                return state, state
            start = jnp.zeros((len(source), c["hidden"]))
            return lax.scan(step, start, (gates(p, rnn, "ih", x), mask.T), reverse=reverse)
        last, outputs = zip(direction(f"encoder.rnn.*_l{k}", False), direction(f"encoder.rnn.*_l{k}_reverse", True))
        states.append(jnp.tanh(linear(p, f"bridge.{k}", jnp.concatenate(last, -1))))
        x = jnp.concatenate(outputs, -1)
        if k + 1 < c["layers"]:
            x = dropped(x, c["dropout"], key)
    values = x.swapaxes(0, 1)
    return (values, values @ matrix(p, "attention.key.weight"), mask), tuple(states)


def step(c, p, memory, token, states, key=None):
    """Logits [B,W,V] and the next states from tokens [B,W] and states [B,W,D]; the W rows of a source share its memory."""
    values, keys, mask = memory
    query = linear(p, "attention.query", states[-1])
    scores = jnp.tanh(query[:, :, None] + keys[:, None]) @ p["attention.energy"]  # [B,W,S]
    weights = jax.nn.softmax(jnp.where(mask[:, None], scores, -jnp.inf), -1)
    context = jnp.einsum("bws,bsh->bwh", weights, values)
    x, after = jnp.concatenate([p["decoder.embedding.weight"][token], context], -1), []
    for k, state in enumerate(states):
        rnn = f"decoder.rnn.*_l{k}"
        x = gru(p, rnn, gates(p, rnn, "ih", x if k == 0 else dropped(x, c["dropout"], key)), state)
        after.append(x)
    return linear(p, "decoder.output", jnp.concatenate([x, context], -1)), tuple(after)


def begin(c, p, source, lengths, key=None):
    memory, states = encode(c, p, source, lengths, key)
    return memory, jnp.full((len(source), 1), c["vocab"]), tuple(state[:, None] for state in states)


def forward(c, p, source, lengths, target_in, forced, key=None):
    """Logits [B,T,V]; at step t > 0 a row is fed the true token where forced[b,t], else its own. Dropout if there is a key."""
    steps = target_in.shape[1]
    keys = None if key is None or c["layers"] == 1 else jax.random.split(key, steps + 1)
    memory, bos, states = begin(c, p, source, lengths, None if keys is None else keys[steps])

    def advance(carry, now):
        own, states = carry
        true, is_forced, key = now
        logits, states = step(c, p, memory, jnp.where(is_forced, true, own), states, key)
        return (logits.argmax(-1), states), logits[:, 0]

    now = target_in.T[:, :, None], forced.at[:, 0].set(True).T[:, :, None], None if keys is None else keys[:steps]
    _, logits = lax.scan(advance, (bos, states), now)
    return logits.swapaxes(0, 1)


def loss_of(c, p, batch, forced, key=None):
    source, lengths, target_in, target_out = batch
    logits = forward(c, p, source, lengths, target_in, forced, key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target_out)
    return losses.mean(where=target_out != PAD)


def greedy(c, p, source, lengths, steps):
    """Outputs [B,T] of fixed length."""
    memory, bos, states = begin(c, p, source, lengths)

    def advance(carry, _):
        logits, states = step(c, p, memory, *carry)
        token = logits.argmax(-1)
        return (token, states), token[:, 0]

    return lax.scan(advance, (bos, states), length=steps)[1].T


def without_eos(c, log_probs):
    return log_probs.at[..., c["vocab"] + 1].set(-jnp.inf)


def beam(c, p, source, lengths, steps, width):
    """The most probable outputs [B,W,T] of fixed length by beam search, without EOS, and their log-probabilities.

    The first step has one row per source, as the hypotheses are still the same.
    """
    memory, token, states = begin(c, p, source, lengths)

    def advance(carry, t):
        token, states, totals, said = carry
        logits, states = step(c, p, memory, token, states)
        totals = totals[:, :, None] + without_eos(c, jax.nn.log_softmax(logits))
        totals, best = lax.top_k(totals.reshape(len(source), -1), width)
        parent, token = jnp.divmod(best, logits.shape[-1])
        states, said = jax.tree.map(lambda x: jnp.take_along_axis(x, parent[:, :, None], 1), (states, said))
        return (token, states, totals, said.at[:, :, t].set(token)), None

    n = len(source)
    first, _ = advance((token, states, jnp.zeros((n, 1)), jnp.zeros((n, 1, steps), jnp.int32)), 0)
    (_, _, totals, said), _ = lax.scan(advance, first, jnp.arange(1, steps))
    return said, totals


def sample(c, p, source, lengths, steps, key):
    """Random outputs [B,T] of fixed length, without EOS, and their log-probabilities."""
    memory, bos, states = begin(c, p, source, lengths)

    def advance(carry, key):
        logits, states = step(c, p, memory, *carry)
        token = jax.random.categorical(key, without_eos(c, logits))
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, :, None], -1)
        return (token, states), (token[:, 0], log_prob[:, 0, 0])

    _, (said, log_probs) = lax.scan(advance, (bos, states), jax.random.split(key, steps))
    return said.T, log_probs.sum(0)


def batch_of(c, n, random):
    source = random.integers(1, c["vocab"], (n, c["length"]), dtype=np.int32)
    bos, eos = (np.full((n, 1), c["vocab"] + k, np.int32) for k in (0, 1))
    target = source[:, ::-1]
    return source, np.full(n, c["length"]), np.concatenate([bos, target], 1), np.concatenate([target, eos], 1)


def trainer(c, p, n, random):
    """The function that trains a model on a new batch."""
    optimizer = optax.chain(optax.clip_by_global_norm(c["clip"]), optax.adam(c["lr"]))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(p, state, batch, forced, seed):
        loss, gradients = jax.value_and_grad(functools.partial(loss_of, c))(p, batch, forced, jax.random.key(seed))
        updates, state = optimizer.update(gradients, state, p)
        return optax.apply_updates(p, updates), state, loss

    carry = [p, optimizer.init(p)]

    def step():
        batch = batch_of(c, n, random)
        forced = np.broadcast_to(random.random(c["length"] + 1) < c["forcing"], batch[2].shape)
        *carry[:], loss = update(*carry, batch, forced, random.integers(1 << 31))
        return loss.item()

    return step


def decoder(c, p, command, n, random, width):
    """The function that decodes a new batch, for as many steps as the target has tokens with EOS."""
    steps = c["length"] + 1

    @jax.jit
    def decode(p, source, lengths, seed):
        match command:
            case "decode":
                return greedy(c, p, source, lengths, steps)
            case "beam":
                return beam(c, p, source, lengths, steps, width)
            case "sample":
                return sample(c, p, source, lengths, steps, jax.random.key(seed))

    def call():
        source, lengths, _, _ = batch_of(c, n, random)
        jax.block_until_ready(decode(p, source, lengths, random.integers(1 << 31)))

    return call


def timed(call, n):
    """Median and least wall time, and median CPU time of the process, in milliseconds, after warming up."""
    for _ in range(2):
        call()
    wall, cpu = [], []
    for _ in range(n):
        start, spent = time.perf_counter(), time.process_time()
        call()
        wall.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - spent))
    return dict(median_ms=statistics.median(wall), min_ms=min(wall), cpu_ms=statistics.median(cpu))


def check(name, width=3, tolerance=1e-4):
    """The greatest differences to torch_peer.py, on one of its golden files: ragged batches, and teacher forcing by row."""
    import safetensors.torch
    import torch
    import torch_peer

    c = torch_peer.CASES[name] | dict(dropout=0.0)
    file = safetensors.torch.load_file(torch_peer.GOLDEN / f"{name}.safetensors")
    model = torch_peer.model_of(c)
    model.load_state_dict({key.removeprefix("weight."): value for key, value in file.items() if key.startswith("weight.")})
    p = {key: jnp.asarray(value.detach().numpy()) for key, value in model.named_parameters()}
    source, lengths, target_out = (file[key] for key in ("source", "source_lengths", "target_out"))
    target_in = torch.cat([torch.full((len(source), 1), model.bos), target_out[:, :-1]], 1)
    target_in[target_in == model.eos] = PAD
    forced, steps = file["forced"].bool(), target_in.shape[1]
    ours = [jnp.asarray(x.numpy()) for x in (source, lengths, target_in, target_out, forced)]
    gradients = jax.grad(functools.partial(loss_of, c))(p, ours[:4], ours[4])
    said, totals = beam(c, p, *ours[:2], steps, width)
    their_said, their_totals = torch_peer.beam(model, (source, lengths, target_in, target_out), width)
    assert (np.asarray(said) == their_said.numpy()).all(), f"{name}: the outputs of beam search differ"
    drawn, log_probs = sample(c, transposed(p), *ours[:2], steps, jax.random.key(0))
    drawn = torch.tensor(np.asarray(drawn).astype(int))
    fed = torch.cat([target_in[:, :1], drawn[:, :-1]], 1)
    with torch.no_grad():
        logits = model(source, lengths, fed, torch.ones_like(forced))
        chosen = logits.log_softmax(-1).gather(2, drawn.unsqueeze(2)).sum((1, 2))
        own = torch_peer.greedy(model, (source, lengths, target_in, target_out))
    assert (np.asarray(greedy(c, transposed(p), *ours[:2], steps)) == own.numpy()).all(), f"{name}: the greedy outputs differ"
    pairs = dict(logits=(forward(c, p, *ours[:3], ours[4]), file["logits"]), loss=(loss_of(c, p, ours[:4], ours[4]), file["loss"]),
                 beam=(totals, their_totals), sample=(log_probs, chosen))
    pairs |= {key: (value, file[f"gradient.{key}"]) for key, value in gradients.items()}
    differences = {key: np.abs(np.asarray(a) - b.numpy()).max().item() for key, (a, b) in pairs.items()}
    assert max(differences.values()) < tolerance, f"{name}: {differences}"
    return dict(case=name, largest_difference=max(differences.values()), compared=len(differences))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("command", choices=["step", "decode", "beam", "sample", "check"])
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--width", type=int, default=5, help="hypotheses of a beam")
    p.add_argument("--n", type=int, default=7, help="calls to time")
    p.add_argument("--transposed", action="store_true", help="store matrices transposed: faster for small batches")
    p.add_argument("--config", type=json.loads, default={}, help="JSON over the defaults, which are " + json.dumps(NOTEBOOK))
    a = p.parse_args()
    c, random = NOTEBOOK | a.config, np.random.default_rng(1)
    said = dict(command=a.command, batch=a.batch, transposed=a.transposed, jax=jax.__version__)
    p = parameters(c, random)
    p = jax.tree.map(jnp.asarray, transposed(p) if a.transposed else p)
    match a.command:
        case "check":
            said["cases"] = [check(name) for name in ("one-layer", "two-layers", "three-layers", "mixed-coins")]
        case "step":
            said |= timed(trainer(c, p, a.batch, random), a.n)
        case command:
            said |= timed(decoder(c, p, command, a.batch, random, a.width), a.n)
            said["sequences_per_s"] = 1e3 * a.batch / said["median_ms"]
    said["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(said))


if __name__ == "__main__":
    main()
