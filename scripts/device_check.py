#!/usr/bin/env python3
"""Checks a binary of s2s on a device, and times it beside the CPU and PyTorch. See device_check.sh.

Sections run in this order, each within its own time, and a failure in one does not stop the next:

    environment   the card, the driver, and two training steps
    parity        golden files, by the test binaries beside the s2s binary
    training      to the usual scores, one run after the other; then evaluation and decoding on both devices
    resume        equal runs, resumed runs, checkpoints between devices
    errors        exit codes and messages
    timing        a training step and a greedy decoding: device, PyTorch on the device, CPU
    laws          all other tests of the test binaries, in groups at the same time

Every check of a section that runs has a verdict in the result: "passed", "failed" or "not run", with the reason.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Seconds that each section may take; on an H200 they take about 15, 25, 40, 40, 15, 115 and 150.
SECTIONS = dict(environment=50, parity=60, training=90, resume=90, errors=60, timing=140, laws=170)
TAIL = 3000  # characters of output kept for each command
TINY = ["--config", "configs/tiny.toml"]
# The sizes of configs/*.toml as scripts/torch_peer.py takes them.
PEERS = {
    "default": (64, dict(vocab=51, embedding=64, hidden=64, decoder=128, layers=1, dropout=0.0, length=12, lr=3e-3,
                         attention=dict(kind="additive", units=64))),
    "notebook": (128, {}),
}
N_DECODED = 2000


class Check:
    """Everything that is found, written to the disk after each piece."""

    def __init__(self, args):
        self.binary = str(pathlib.Path(args.binary).resolve())
        self.device = args.device
        self.is_gpu = args.device != "cpu"
        self.out = pathlib.Path(args.folder).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.log_file = (self.out / "device_check.log").open("w")
        self.started = time.monotonic()
        self.end = self.deadline = self.started + args.seconds
        self.lock = threading.RLock()
        self.results = dict(binary=self.binary, device=self.device, complete=False, checks=[], data={}, sections={})
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="device_check."))
        self.children = set()

    def left(self):
        return self.deadline - time.monotonic()

    def begin(self, section):
        self.deadline = min(self.end, time.monotonic() + SECTIONS[section])

    def log(self, text, shown=False):
        with self.lock:
            line = f"[{time.monotonic() - self.started:6.1f}] {text}"
            print(line, file=self.log_file, flush=True)
            if shown:
                print(line, flush=True)

    def save(self):
        with self.lock:
            self.results["seconds"] = round(time.monotonic() - self.started, 1)
            part = self.out / "device_check.json.part"
            part.write_text(json.dumps(self.results, indent=1) + "\n")
            part.replace(self.out / "device_check.json")

    def check(self, name, passed, detail=""):
        """`passed` is None where something was not run or not to its end; `detail` says why."""
        with self.lock:
            verdict = {True: "passed", False: "failed", None: "not run"}[passed]
            self.results["checks"].append(dict(name=name, verdict=verdict, detail=detail))
            self.log(f"{verdict.upper() if passed is False else verdict:8}{name}: {detail}", shown=True)
            self.save()
        return passed

    def data(self, *path, value):
        with self.lock:
            at = self.results["data"]
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
            self.save()

    def run(self, command, seconds, env=None, stop_when=None, cwd=ROOT):
        """Runs a command for at most `seconds`; `stop_when()` true sends it SIGINT.

        Its exit code is None if it was killed for time.
        """
        command = [str(word) for word in command]
        seconds = min(seconds, self.left())
        if seconds < 1:
            return dict(exit=None, seconds=0.0, out="", err="no time left", timed_out=True)
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                         env=os.environ | (env or {}), start_new_session=True)
            except OSError as error:
                return dict(exit=None, seconds=0.0, out="", err=str(error), timed_out=False)
            self.children.add(child)
            timed_out = interrupted = False
            while child.poll() is None:
                spent = time.monotonic() - started
                if spent > seconds and not timed_out:
                    timed_out = True
                    kill_group(child, signal.SIGTERM)
                elif spent > seconds + 5:
                    kill_group(child, signal.SIGKILL)
                elif stop_when and not interrupted and stop_when():
                    interrupted = True
                    child.send_signal(signal.SIGINT)
                time.sleep(0.005 if spent < 2 else 0.05)
            self.children.discard(child)
            for file in (out, err):
                file.seek(0)
            result = dict(exit=None if timed_out else child.returncode, seconds=round(time.monotonic() - started, 2),
                          out=out.read(), err=err.read(), timed_out=timed_out)
        self.log(f"$ {' '.join(command)}\n  exit {result['exit']}{' (time limit)' if timed_out else ''} after "
                 f"{result['seconds']} s\n{indent(result['out'])}{indent(result['err'])}")
        return result

    def s2s(self, *words, seconds, device=None, threads=None, **options):
        words = [*words, "--device", device or self.device]
        return self.run([self.binary, *words, *(["--threads", threads] if threads else [])], seconds, **options)


def kill_group(child, number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def indent(text):
    text = text[-TAIL:]
    return "".join(f"    {line}\n" for line in text.splitlines())


def last_lines(result, n=6):
    text = (result["out"] + result["err"]).strip()
    return " | ".join(text.splitlines()[-n:])[-800:]


def json_line(result):
    """The last line of standard output, if it is JSON."""
    lines = result["out"].strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(lines[-1])
    return None


def read_lines(path):
    """Records of a .jsonl file that may still be written to."""
    records = []
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            records.append(json.loads(line))
    return records


def read_json(path):
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def digest(path):
    with contextlib.suppress(OSError):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return None


def relative(a, b):
    return abs(a - b) / max(abs(a), abs(b), 1e-12)


# --- environment


def environment(c):
    host = dict(machine=platform.platform(), python=platform.python_version(), cores=os.cpu_count())
    with contextlib.suppress(OSError):
        models = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        host["cpu"] = models[0] if models else platform.machine()
    if c.is_gpu:
        fields = "name,driver_version,memory.total,compute_cap,clocks.sm,clocks.max.sm"
        host["gpu"] = c.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], 20)["out"].strip()
        host["nvidia_smi"] = c.run(["nvidia-smi"], 20)["out"][-2000:]
        missing = [line.strip() for line in c.run(["ldd", c.binary], 10)["out"].splitlines() if "not found" in line]
        c.check("environment/libraries", not missing, "; ".join(missing) or "all found")
    torch = c.run([sys.executable, "-c", "import torch; print(torch.__version__, torch.version.cuda, "
                   "torch.backends.cudnn.version(), torch.cuda.is_available())"], 60)
    host["torch"] = torch["out"].strip() if torch["exit"] == 0 else None
    host["s2s"] = c.run([c.binary, "--version"], 10)["out"].strip()
    c.data("host", value=host)
    c.log(json.dumps({key: value for key, value in host.items() if key != "nvidia_smi"}), shown=True)
    short = ["--set", "train.max_steps=2", "--set", "train.eval_every=2"]
    for name in ("first", "second"):  # the driver compiles the kernels for the first and keeps them
        result = c.s2s("train", *TINY, *short, "--run-dir", c.work / f"two-steps-{name}", seconds=60)
        c.check(f"environment/two steps, {name} process", result["exit"] == 0,
                f"exit {result['exit']}, {result['seconds']} s" + ("" if result["exit"] == 0 else f", {last_lines(result)}"))
    recorded = read_json(c.work / "two-steps-first/environment.json")
    c.data("environment.json", value=recorded)


# --- parity


def tests_beside(binary):
    return sorted(path for path in pathlib.Path(binary).parent.glob("tests-*") if path.suffix != ".xz")


def parity(c):
    folder = pathlib.Path(c.binary).parent
    if not tests_beside(c.binary):
        c.check("parity", None, f"no test binaries in {folder}")
    # Golden files are read where the tests were built. A link stands in for that folder.
    with contextlib.suppress(OSError):
        source = pathlib.Path((folder / "source-root").read_text().strip())
        if not source.exists():
            source.parent.mkdir(parents=True, exist_ok=True)
            source.symlink_to(ROOT)
            c.log(f"linked {source} to {ROOT}")
    for path in tests_beside(c.binary):
        test(c, path, "parity", ["parity::"], c.left())


# Tests whose names begin alike run in one process; the first group needs the kernels most.
LAWS = [["fused::", "transducer::", "operations::"], ["attention::", "decoding::", "trace::", "weights::", "pytorch::"], ["laws::"]]


def laws(c):
    threads = [threading.Thread(target=test, args=(c, path, f"laws {n}", words, c.left()), daemon=True)
               for path in tests_beside(c.binary) for n, words in enumerate(LAWS, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not threads:
        c.check("laws", None, f"no test binaries in {pathlib.Path(c.binary).parent}")


def test(c, path, part, words, seconds):
    env = {"S2S_TEST_DEVICE": c.device, "RUST_BACKTRACE": "0"}
    listed = c.run([path, *words, "--list"], 20)["out"].splitlines()
    expected = [line.removesuffix(": test") for line in listed if line.endswith(": test")]
    n_threads = max(1, min(8, os.cpu_count() // len(LAWS)))
    result = c.run([path, *words, "--nocapture", "--test-threads", n_threads], seconds, env=env)
    name = f"{part.split()[0]}/{path.name.removeprefix('tests-')} {part}"
    lines = (result["out"] + result["err"]).splitlines()
    verdicts = [line for line in lines if line.startswith("test result:")]
    ends = {line.split()[1]: line.split()[-1] for line in lines if line.startswith("test ") and " ... " in line}
    failed = sorted(test for test, end in ends.items() if end == "FAILED")
    missing = sorted(set(expected) - {test for test, end in ends.items() if end in ("ok", "FAILED")})
    passed = False if failed else None if result["timed_out"] else result["exit"] == 0
    c.data("tests", name, value=dict(seconds=result["seconds"], verdicts=verdicts, failed=failed, not_run=missing, ends=ends,
                                     distances=[line for line in lines if "distance" in line][:400],
                                     panics=[line for line in lines if "panicked" in line or "error" in line.lower()][:40]))
    told = [f"{len(expected) - len(missing)} of {len(expected)} tests ended in {result['seconds']} s"]
    told += [f"failed: {', '.join(failed)}"] if failed else []
    told += [f"cut off by the time limit: {', '.join(missing)}"] if result["timed_out"] else []
    c.check(name, passed, "; ".join(told)[:1500])


# --- timing


def timing(c):
    sizes = {"default": [], "notebook": ["--config", "configs/notebook.toml"], "deepmind": ["--config", "configs/deepmind.toml"]}

    def bench(name, work, device, threads, n, seconds, batch=None):
        extra = [] if batch is None else ["--batch", batch]
        result = c.s2s("bench", work, *sizes[name], *extra, "--json", "--n", n, seconds=seconds, device=device, threads=threads)
        record = json_line(result) if result["exit"] == 0 else None
        who = device if threads is None else f"{device}, {threads} thread{'s' * (threads > 1)}"
        what = f"{name} {work}" + ("" if batch is None else f", batch {batch}")
        told = f"{record['median_ms']:.3f} ms ({record['kernels']})" if record else last_lines(result)
        measured(what, f"s2s {who}", record, result, told)

    def measured(what, who, record, result, told):
        c.data("timing", what, who, value=record or last_lines(result))
        c.check(f"timing/{what}: {who}", True if record else None if result["timed_out"] else False, told)

    def peer(name, work, *words, batch=None, seconds=45):
        if not has_torch:
            c.check(f"timing/{name} {work}: PyTorch", None, "python3 has no PyTorch")
            return
        own_batch, config = PEERS[name]
        result = c.run([sys.executable, "scripts/torch_peer.py", work, "--device", c.device, "--batch", batch or own_batch,
                        "--n", 30, "--threads", 1, "--config", json.dumps(config), *words], seconds)
        record = json_line(result) if result["exit"] == 0 else None
        who = " ".join(["PyTorch", c.device, *words])
        what = f"{name} {work}" + ("" if batch is None else f", batch {batch}")
        measured(what, who, record, result, f"{record['median_ms']:.3f} ms" if record else last_lines(result, 3))

    has_torch = importlib.util.find_spec("torch") is not None
    cases = [(name, work, 256 if work == "decode" else None) for work in ("step", "decode") for name in ("notebook", "default")]
    n = 60 if c.is_gpu else 5
    for name, work, batch in cases:
        if c.is_gpu:
            bench(name, work, c.device, None, n, 30, batch)
        peer(name, work, batch=batch)
        if c.is_gpu:
            peer(name, work, "--graph", batch=batch)
    if c.is_gpu:
        bench("deepmind", "step", c.device, None, 60, 30)
        bench("notebook", "step", c.device, None, 15, 30, 1024)
        bench("notebook", "decode", c.device, None, 15, 30, 1)
        peer("notebook", "step", "--graph", batch=1024)
    for name, work, batch in cases:
        bench(name, work, "cpu", os.cpu_count(), 7, 15, batch)
        bench(name, work, "cpu", 1, 3, 15, batch)
    bench("deepmind", "step", "cpu", os.cpu_count(), 7, 15)
    if c.is_gpu:
        times = {who: record["median_ms"] for who, record in c.results["data"]["timing"].get("notebook step", {}).items()
                 if isinstance(record, dict)}
        own, others = times.get(f"s2s {c.device}"), [times[who] for who in times if who.startswith("PyTorch")]
        c.check("timing/notebook step: no slower than PyTorch", own <= min(others) if own and others else None, json.dumps(times))


# --- training and resume


def train(c, name, words, seconds, device=None, **options):
    """A run, and a summary of how far it came."""
    folder = c.work / name
    result = c.s2s("train", *words, "--run-dir", folder, seconds=seconds, device=device, **options)
    metrics, record = read_lines(folder / "metrics.jsonl"), read_json(folder / "run.json") or {}
    test = record.get("test") or {}
    summary = dict(exit=result["exit"], seconds=result["seconds"], status=record.get("status"), step=record.get("step"),
                   elapsed_secs=record.get("elapsed_secs"), test_exact=test.get("exact_match"), test_loss=test.get("loss"),
                   losses=[[m["step"], m["train_loss"], m["val_loss"], m["val_exact_match"]] for m in metrics])
    if result["exit"] != 0:
        summary["said"] = last_lines(result)
    c.data("runs", name, value=summary)
    return folder, summary


def ended(summary):
    """Whether a run ended; None if it was cut off."""
    return None if summary["exit"] is None else summary["exit"] == 0


def evaluate(c, folder, device):
    result = c.s2s("eval", folder, "--json", seconds=40, device=device)
    return result, json_line(result)


def moved(c, section, name, folder):
    """The same checkpoint on both devices gives the same figures."""
    name = f"{section}/{name}: evaluates alike on {c.device} and cpu"
    (first, here), (second, there) = evaluate(c, folder, c.device), evaluate(c, folder, "cpu")
    c.data("runs", name, value=dict(device=here, cpu=there))
    if here is None or there is None:
        cut = first["timed_out"] or second["timed_out"]
        c.check(name, None if cut else False, last_lines(first if here is None else second))
        return
    apart = max(relative(here[key], there[key]) for key in ("loss", "forced_loss"))
    c.check(name, apart < 1e-3 and relative(here["exact_match"], there["exact_match"]) < 5e-3,
            f"losses {apart:.1e} apart, exact match {here['exact_match']:.4f} and {there['exact_match']:.4f}")


def decoded(c, section, name, folder, vocab, longest):
    """The tokens of 2,000 sequences, on both devices."""
    name = f"{section}/{name}: decodes {N_DECODED} sequences alike"
    rng = random.Random(5)
    source = c.work / f"decoded-{vocab}.txt"
    source.write_text("".join(" ".join(str(rng.randrange(1, vocab)) for _ in range(rng.randint(1, longest))) + "\n"
                              for _ in range(N_DECODED)))
    answers = {}
    for device in (c.device, "cpu"):
        result = c.s2s("predict", folder, "--json", "--file", source, seconds=60, device=device)
        answers[device] = read_answers(result["out"])
        if len(answers[device]) != N_DECODED:
            c.check(name, None if result["timed_out"] else False,
                    f"{len(answers[device])} answers on {device}, exit {result['exit']}, {last_lines(result, 3)[-300:]}")
            return
    pairs = list(zip(answers[c.device], answers["cpu"]))
    different = [(a, b) for a, b in pairs if a["prediction"] != b["prediction"]]
    apart = max(abs(a["log_prob"] - b["log_prob"]) for a, b in pairs)
    c.data("runs", name, value=dict(different=len(different), log_prob_apart=apart, first=different[:3]))
    c.check(name, not different, f"{len(different)} answers differ, log-probabilities at most {apart:.1e} apart")


def read_answers(text):
    answers = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            answers.append(json.loads(line))
    return answers


def training(c):
    # Name, configuration, the usual score on the test split, and what a decoder of it reads.
    runs = [("default", [], 0.999, (51, 12)), ("deepmind", ["--config", "configs/deepmind.toml"], 0.99, None), ("tiny", TINY, 0.6, None)]
    for name, words, at_least, reads in runs:
        folder, summary = train(c, name, words, c.left())
        what, exact = f"training/{name}: reaches {at_least:.1%}", summary["test_exact"]
        if exact is None:
            c.check(what, ended(summary), f"exit {summary['exit']} after {summary['seconds']} s, last evaluation "
                    f"{(summary['losses'] or [None])[-1]}, {summary.get('said', '')}")
            continue
        c.check(what, exact >= at_least,
                f"exact match {exact:.4%} on the test split, step {summary['step']}, {summary['elapsed_secs']:.1f} s")
        moved(c, "training", name, folder)
        if reads is not None:
            decoded(c, "training", name, folder, *reads)
    short = ["--set", "train.max_steps=20", "--set", "train.eval_every=10"]
    variants = {"label smoothing": ["--set", "train.label_smoothing=0.1"], "f16": ["--set", "train.precision=f16", *short],
                "accumulation": ["--set", "train.accumulation_steps=3", *short], "no kernels": ["--set", "model.kernels=reference", *short]}
    if c.is_gpu:
        variants["bf16"] = ["--set", "train.precision=bf16", *short]
    for name, words in variants.items():
        _, summary = train(c, f"tiny with {name}", [*TINY, *words], 30)
        c.check(f"training/tiny with {name}: ends", ended(summary), f"{(summary['losses'] or [None])[-1]}, {summary.get('said', '')}")


def files_of(folder):
    names = ["checkpoints/last/params.safetensors", "checkpoints/last/moments.safetensors",
             "checkpoints/best/params.safetensors", "metrics.jsonl"]
    return {name: digest(folder / name) for name in names}


def interrupted_and_resumed(c, name, words, first, second):
    """A run that is interrupted after its third evaluation on `first`, and ends on `second`. Whether it did."""
    folder = c.work / name
    enough = lambda: len(read_lines(folder / "metrics.jsonl")) >= 3
    stopped = c.s2s("train", *words, "--run-dir", folder, seconds=60, device=first, stop_when=enough)
    at = read_json(folder / "run.json") or {}
    if stopped["exit"] != 130:
        over = stopped["exit"] in (None, 0)  # it ended before it could be interrupted, or there was no time
        c.check(f"resume/{name}", None if over else False, f"not interrupted: exit {stopped['exit']}, {last_lines(stopped)}")
        return folder, False
    again = c.s2s("resume", folder, seconds=90, device=second)
    record = read_json(folder / "run.json") or {}
    passed = None if again["timed_out"] else again["exit"] == 0 and record.get("test") is not None
    c.check(f"resume/{name}", passed, f"stopped at step {at.get('step')}, exit {again['exit']}, ended at step {record.get('step')}"
            + ("" if passed else f", {last_lines(again)}"))
    return folder, bool(passed)


def resume(c):
    words = [*TINY, "--set", "train.max_steps=600", "--set", "train.learning_rate=3e-3"]
    (whole, first), (again, second) = (train(c, f"tiny, 600 steps, {n}", words, 60) for n in ("once", "again"))
    both = ended(first) and ended(second)
    c.check("resume/two runs are equal, byte for byte", both and files_of(whole) == files_of(again),
            json.dumps([files_of(whole), files_of(again)]))
    part, is_whole = interrupted_and_resumed(c, f"tiny, {c.device} to {c.device}", words, c.device, c.device)
    c.check("resume/a resumed run ends with the bytes of an uninterrupted one",
            files_of(part) == files_of(whole) if is_whole and both else None, json.dumps(files_of(part)))
    on_cpu, there = train(c, "tiny, 600 steps, cpu", words, 60, device="cpu")
    if first["losses"] and there["losses"]:
        pairs = [(relative(a[1], b[1]), relative(a[2], b[2])) for a, b in zip(first["losses"], there["losses"])]
        c.data("runs", "losses apart from the CPU's", value=pairs)
        c.check("resume/losses of the first evaluation are the CPU's", max(pairs[0]) < 1e-3, f"{pairs[0][0]:.1e} train, {pairs[0][1]:.1e} val")
    else:
        c.check("resume/losses of the first evaluation are the CPU's", None, "a run has no evaluation")
    moved(c, "resume", "tiny, trained on cpu", on_cpu)
    decoded(c, "resume", "tiny", whole, 11, 4)
    if c.is_gpu:
        interrupted_and_resumed(c, f"tiny, {c.device} to cpu", words, c.device, "cpu")
        interrupted_and_resumed(c, f"tiny, cpu to {c.device}", words, "cpu", c.device)


# --- errors


def errors(c):
    name = c.device
    train_tiny = ["train", *TINY, "--set", "train.max_steps=4", "--set", "train.eval_every=2"]
    # The largest activations that a configuration may ask for, in more layers than fit a GPU's memory.
    wide = ["--set", "model.layers=16", "--set", "model.hidden=128", "--set", "model.decoder=256", "--set", "data.vocab=51",
            "--set", "data.min_len=30", "--set", "data.max_len=30"]
    big = ["train", *TINY, *wide, "--set", "train.batch_size=32768", "--set", "data.train_samples=32768"]
    evaluation = ["train", *TINY, *wide, "--set", "train.eval_batch_size=32768", "--set", "data.val_samples=32768",
                  "--set", "train.max_steps=1", "--set", "train.eval_every=1"]
    cases = [  # name, words, device, environment, expected exit codes, expected in the message
        ("no such kind of device", train_tiny, "tpu", {}, [2], ["unknown device"]),
        ("a number that is none", train_tiny, "cuda:x", {}, [2], ["cuda:0"]),
        ("no such card", train_tiny, "cuda:7", {}, [2], ["try:"]),
        ("no card visible", train_tiny, name, {"CUDA_VISIBLE_DEVICES": ""}, [2] if c.is_gpu else [0], ["try:"] if c.is_gpu else []),
        ("Metal", train_tiny, "metal", {}, [2], ["without Metal"]),
        ("a precision that the CPU lacks", [*train_tiny, "--set", "train.precision=bf16"], "cpu", {}, [2], ["precision"]),
    ]
    if c.is_gpu:
        cases += [
            ("out of memory at the first step", big, name, {}, [1], ["memory", "train.batch_size"]),
            ("out of memory at an evaluation", evaluation, name, {}, [1], ["memory", "train.eval_batch_size"]),
        ]
    for index, (what, words, device, env, codes, says) in enumerate(cases):
        folder = c.work / f"error-{index}"
        result = c.s2s(*words, "--run-dir", folder, seconds=40, device=device, env=env)
        missing = [text for text in says if text not in result["err"]]
        said = [line for line in result["err"].splitlines() if line.startswith(("error", "  caused", "  try"))]
        c.data("errors", what, value=dict(exit=result["exit"], seconds=result["seconds"], said=said or last_lines(result),
                                          files=sorted(path.name for path in folder.glob("*"))))
        passed = None if result["timed_out"] else result["exit"] in codes and not missing
        c.check(f"errors/{what}", passed, f"exit {result['exit']}: {' | '.join(said)[:500] or last_lines(result)}")


def guarded(c, name, section):
    started = time.monotonic()
    try:
        section()
    except Exception as error:  # a bug of this script must not cost the other sections
        import traceback
        c.log(traceback.format_exc())
        c.check(name, False, f"device_check.py failed: {error!r}")
    with c.lock:
        c.results["sections"][name] = round(time.monotonic() - started, 1)
        c.save()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("binary")
    p.add_argument("folder")
    p.add_argument("--device", default="cuda")
    p.add_argument("--seconds", type=float, default=470, help="for everything; what is left out is told")
    p.add_argument("--only", action="append", choices=SECTIONS, help="may be given several times")
    args = p.parse_args()
    c = Check(args)

    def stop(number, _frame):
        c.log(f"stopped by signal {number}", shown=True)
        for child in list(c.children):
            kill_group(child, signal.SIGKILL)
        c.save()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for name in SECTIONS:
        if args.only and name not in args.only:
            c.check(name, None, "left out by --only")
            continue
        c.log(f"--- {name}", shown=True)
        c.begin(name)
        guarded(c, name, lambda: globals()[name](c))
    verdicts = [check["verdict"] for check in c.results["checks"]]
    counts = {verdict: verdicts.count(verdict) for verdict in ("passed", "failed", "not run")}
    c.results |= dict(complete=True, counts=counts)
    c.save()
    c.log(json.dumps(counts), shown=True)
    shutil.rmtree(c.work, ignore_errors=True)
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
