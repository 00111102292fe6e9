from __future__ import annotations

import pytest

from bumpscout_agents.static_checks import blocked, check_script
from bumpscout_tools import scripts
from bumpscout_tools.scan.plan import DetectorPlan

GOOD = scripts.render(DetectorPlan())
HEAD = "from bumpscout_tools.script import read_task, read_view, write_scores\nimport numpy as np\n"
END = "\nwrite_scores(scores)\n"


def test_the_template_of_the_library_has_no_findings() -> None:
    assert check_script(GOOD) == []


BLOCKED = [
    "import os",
    "import sys",
    "import subprocess",
    "import socket",
    "import ctypes",
    "import pickle",
    "import importlib",
    "import builtins",
    "import requests",
    "import bumpscout",
    "import bumpscout_sandbox",
    "import bumpscout_tools.simulation",
    "from bumpscout_tools import simulation",
    "from bumpscout_tools.simulation import boxes",
    "from . import secrets",
    "from os import system",
    "from numpy import ctypeslib",
    "import numpy.ctypeslib",
    "import torch.utils.cpp_extension",
    "from numpy import *",
    "eval('1')",
    "exec('1')",
    "compile('1', '', 'exec')",
    "run = eval",
    "__import__('os')",
    "globals()['x']",
    "open('/etc/passwd')",
    "open('/in/../etc/passwd')",
    "open('/out/x' + name)",
    "open(name)",
    "open('relative.txt')",
    "np.load('/home/someone/key.npy')",
    "np.load('/in/view.npy', allow_pickle=True)",
    "np.os.system('id')",
    "().__class__.__base__.__subclasses__()",
    "'{0.__class__}'.format(1)",
    "getattr(np, 'o' + 's')",
    "getattr(np, '__dict__')",
    "__builtins__",
    "import torch\ntorch.load('/in/model.pt')",
    "rng = np.random.default_rng()",
    "x = np.random.normal(size=3)",
    "import torch\nx = torch.rand(3)",
]


@pytest.mark.parametrize("line", BLOCKED)
def test_what_has_no_business_in_a_script_blocks_with_line_and_remedy(line: str) -> None:
    findings = check_script(GOOD + line + "\n")
    blockers = [finding for finding in findings if finding.severity == "blocker"]
    assert blockers
    assert blocked(findings)
    n_template = len(GOOD.splitlines())
    assert all(finding.line is not None and finding.line > n_template for finding in blockers)
    assert all(finding.message and finding.remedy for finding in blockers)


ALLOWED = [
    "import math, json, itertools",
    "import scipy.stats",
    "import lightgbm",
    "import torch\ntorch.manual_seed(task.seed)\nx = torch.rand(3)\nmodel.eval()",
    "import matplotlib\nfigure.savefig('/out/score.png')",
    "rng = np.random.default_rng(task.seed)",
    "open('/in/task.json')",
    "with open('/out/note.json', 'w') as f:\n    f.write('{}')",
    "if __name__ == '__main__':\n    pass",
    "from pathlib import Path\np = Path('/out') / 'a.png'",
    "label = 'S / B'",
]


@pytest.mark.parametrize("line", ALLOWED)
def test_ordinary_code_is_not_blocked(line: str) -> None:
    assert not blocked(check_script(GOOD + line + "\n"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n", "no Python"),
        ("x = 1\x00", "no Python"),
        ("", "never writes"),
        ("# just words\n", "never writes"),
        ("x = " + "(" * 500 + ")" * 500, ""),
        ("x = " + "-" * 50_000 + "1", ""),
        ("x = 1\n" * 60_000, "more than"),
    ],
)
def test_what_is_no_script_is_blocked_without_an_error(source: str, words: str) -> None:
    findings = check_script(source)
    assert blocked(findings)
    assert any(words in finding.message for finding in findings)


def test_scores_can_be_saved_with_numpy() -> None:
    script = HEAD + "task = read_task(); np.save('/out/scores.npy', x)\n"
    assert not blocked(check_script(script))


WARNED = [
    ("m = view.mass\nscores = (m > 3400) & (m < 3600)", "made from the mass"),
    ("m = view.mass\nscores = (m > 3400) & (m < 3600)", "A mass is written into the script"),
    ("scores = np.stack([view.mass, view.mass])", "made from the mass"),
    ("scores = table['m_jj']", "made from the mass"),
    ("scores = np.zeros((3, 2))\nscores[:, 0] = view.mass", "made from the mass"),
    ("scores = table['label']", "views hold no truth"),
    ("try:\n    scores = f()\nexcept Exception:\n    scores = 0", "swallowed"),
    ("scores = view.features", "cross_fit is not used"),
    ("scores = view.features", "seed of the task is not used"),
]


@pytest.mark.parametrize(("body", "words"), WARNED)
def test_doubtful_physics_warns_and_leaves_the_decision_to_the_gate(body: str, words: str) -> None:
    script = HEAD + "task = read_task()\nview = read_view()\n" + body + END
    findings = check_script(script)
    assert not blocked(findings)
    assert any(words in finding.message for finding in findings)


def test_a_training_on_windows_of_the_mass_is_no_score_from_the_mass() -> None:
    body = (
        "task = read_task()\nview = read_view()\n"
        "low, high = task.windows_gev[0]\n"
        "inside = (view.mass > low) & (view.mass < high)\n"
        "scores = model.fit(view.features, inside).predict(view.features)\n"
    )
    findings = check_script(HEAD + body + END)
    assert not any("made from the mass" in finding.message for finding in findings)
    assert not any("written into the script" in finding.message for finding in findings)


def test_a_loop_without_an_end_is_left_to_the_wall() -> None:
    assert not blocked(check_script(GOOD + "while True:\n    pass\n"))
