"""Tests of the installed package: `cargo xtask wheel --test`."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import math
import os
import re
import subprocess
import sysconfig
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import s2s

TOP = Path(__file__).parents[2]
TINY = TOP / "configs/tiny.toml"
HOME = tempfile.TemporaryDirectory()
RUN = Path(HOME.name, "run")
SOURCES = ["3 1 4", "1,5", "9 2 6 5"]


def command_line(*arguments: str, stdin: str = "") -> str:
    """What the installed program prints."""
    program = os.path.join(sysconfig.get_path("scripts"), "s2s")
    done = subprocess.run([program, *arguments], input=stdin, text=True, capture_output=True, check=True)
    return done.stdout


def setUpModule() -> None:
    unittest.addModuleCleanup(HOME.cleanup)
    s2s.train(TINY, settings={"data.task": "copy", "train.max_steps": 40}, run_dir=RUN, verbose=False)


class Runs(unittest.TestCase):
    def test_training_returns_the_folder_and_the_outcome(self) -> None:
        run = s2s.resume(RUN, verbose=False)  # finished: trains no further
        self.assertEqual((run.path, run.outcome["status"], run.outcome["step"]), (RUN, "finished", 40))
        self.assertEqual(run.outcome, json.loads((RUN / "run.json").read_text()))

    def test_settings_and_options_are_those_of_the_command_line(self) -> None:
        config = command_line("config", f"--config={RUN}/config.resolved.toml")
        self.assertIn('task = "copy"', config)
        folder = RUN.with_name("from")
        s2s.train(from_=RUN, settings={"train.max_steps": 2}, run_dir=folder, seed=3, verbose=False)
        self.assertIn("seed = 3", (folder / "config.resolved.toml").read_text())

    def test_messages_are_shown_if_verbose(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            s2s.resume(RUN)
            s2s.resume(RUN, verbose=False)
        self.assertEqual(shown.getvalue(), f"run {RUN} is already finished\n")

    def test_metrics_are_a_table(self) -> None:
        rows = s2s.metrics(RUN)
        self.assertEqual([row["step"] for row in rows], [20, 40])
        self.assertLess(rows[1]["val_loss"], rows[0]["val_loss"])
        self.assertEqual({type(value) for row in rows for value in row.values()}, {int, float, bool})
        self.assertEqual([row["step"] for row in s2s.steps(RUN)], [10, 20, 30, 40])

    def test_a_line_that_is_being_written_is_not_read(self) -> None:
        folder = RUN.with_name("growing")
        folder.mkdir()
        (folder / "metrics.jsonl").write_text('{"step": 1}\n{"st')
        self.assertEqual(s2s.metrics(folder), [{"step": 1}])

    def test_evaluation_gives_the_metrics_of_the_command_line(self) -> None:
        metrics = s2s.evaluate(RUN, split="val")
        self.assertEqual(metrics, json.loads(command_line("eval", str(RUN), "--split=val", "--json")))
        self.assertEqual(metrics["loss"], s2s.metrics(RUN)[-1]["val_loss"])
        both = s2s.evaluate(RUN, f"{RUN}@last", split="val")
        self.assertAlmostEqual(both["loss"], metrics["loss"], places=5)


class Models(unittest.TestCase):
    def test_answers_are_those_of_the_command_line(self) -> None:
        with s2s.load(RUN) as model:
            for _ in range(2):  # by the same process
                answers = model.predict(SOURCES, attention=True)
        lines = command_line("predict", str(RUN), "--json", "--attention", stdin="\n".join(SOURCES))
        for answer, record in zip(answers, map(json.loads, lines.splitlines()), strict=True):
            self.assertEqual(answer.tokens, record["prediction"])
            self.assertEqual(answer.probabilities, record["probabilities"])
            self.assertEqual(answer.attention, record["weights"])
            self.assertEqual(str(answer), " ".join(map(str, answer.tokens)))
            self.assertAlmostEqual(answer.probability, math.prod(answer.probabilities), places=5)
            self.assertEqual(len(answer.probabilities), len(answer.tokens) + answer.stopped)

    def test_a_beam_gives_the_best_candidates_first(self) -> None:
        with s2s.load(RUN) as model:
            candidates = model.candidates(SOURCES, beam=4, n_best=3)
            best = model.predict(SOURCES, beam=4)
        for answers, answer in zip(candidates, best, strict=True):
            self.assertEqual(answers[0], answer)
            probabilities = [answer.log_prob for answer in answers]
            self.assertEqual(probabilities, sorted(probabilities, reverse=True))

    def test_draws_depend_on_seed_and_position_alone(self) -> None:
        with s2s.load(RUN) as model:
            model.predict(SOURCES)
            draws = [model.candidates(SOURCES, sample=True, draws=3, seed=seed) for seed in (1, 1, 2)]
        self.assertEqual(draws[0], draws[1])
        self.assertNotEqual(draws[0], draws[2])

    def test_the_score_of_an_answer_is_its_probability(self) -> None:
        with s2s.load(RUN) as model:
            answers = model.predict(SOURCES, max_len=20)
            scores = model.score(zip(SOURCES, map(str, answers), strict=True))
        for answer, score in zip(answers, scores, strict=True):
            self.assertAlmostEqual(score.log_prob, answer.log_prob, places=5)
            self.assertEqual(set(score.ranks), {1})

    def test_many_lines_do_not_block(self) -> None:
        lines = ["3 1 4 1", "5 9 2 6"] * 5_000  # more than pipes hold in both directions
        with s2s.load(RUN) as model:
            answers = model.predict(lines)
        self.assertEqual(answers[:2] * 5_000, answers)

    def test_a_warning_names_the_line_of_the_call(self) -> None:
        with s2s.load(RUN, max_len=1) as model:
            model.predict([])
            for _ in range(2):
                with self.assertWarnsRegex(UserWarning, r"^line 1: the output was cut") as caught:
                    model.predict(["3 1 4"])
        self.assertEqual(caught.filename, __file__)


class Documentation(unittest.TestCase):
    def test_the_examples_work(self) -> None:
        Path(HOME.name, "configs").symlink_to(TINY.parent)
        page = (TOP / "docs/python.md").read_text()
        programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        output = io.StringIO()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(HOME.name)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(doctest.testmod(s2s).failed, 0)
            with contextlib.redirect_stdout(output):
                exec("\n".join(programs), {})
        self.assertIn("unknown key", output.getvalue())


class Errors(unittest.TestCase):
    def check(self, error: s2s.Error, code: int, message: str, hint: str = "") -> None:
        self.assertEqual(error.code, code)
        self.assertIn(message, error.message)
        self.assertIn(hint, error.hint)
        self.assertNotIn("try:", error.message)

    def test_a_folder_without_a_run(self) -> None:
        with self.assertRaises(s2s.Error) as caught:
            s2s.load(RUN / "missing")
        self.check(caught.exception, 2, "missing does not exist", "`s2s train`")
        with self.assertRaises(s2s.Error) as caught:
            s2s.metrics(RUN / "missing")
        self.check(caught.exception, 1, "No such file", "`s2s train`")

    def test_an_invalid_configuration(self) -> None:
        with self.assertRaises(s2s.Error) as caught:
            s2s.train(settings={"model.hiden": 3}, run_dir=RUN.with_name("invalid"), verbose=False)
        self.check(caught.exception, 2, 'did you mean "hidden"?')

    def test_an_unknown_option(self) -> None:
        with self.assertRaises(s2s.Error) as caught:
            s2s.evaluate(RUN, splt="val")
        self.check(caught.exception, 2, "--splt")

    def test_an_invalid_line(self) -> None:
        with s2s.load(RUN) as model:
            with self.assertRaises(s2s.Error) as caught:
                model.predict(["3 1", "3 x"])
            self.check(caught.exception, 1, "line 2: ")
            with self.assertRaises(ValueError):
                model.predict(["3\n1"])
            with self.assertRaises(TypeError):
                model.predict("3 1")
            self.assertEqual(len(model.predict(["3 1"])), 1)  # still answers

    def test_a_missing_program(self) -> None:
        nowhere = mock.patch("sysconfig.get_path", return_value=HOME.name)
        with nowhere, mock.patch.dict(os.environ, PATH=""), self.assertRaises(s2s.Error) as caught:
            s2s.load(RUN)
        self.check(caught.exception, 127, "s2s is missing", "pip install")


if __name__ == "__main__":
    unittest.main()
