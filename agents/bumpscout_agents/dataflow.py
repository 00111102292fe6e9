"""Warnings about the physics of a script: seeds, folds, the mass as a score, words of the truth."""

from __future__ import annotations

import ast

from bumpscout_agents.schemas import Finding, Severity

__all__ = ["physics_findings"]

_MASS_NAMES = frozenset(["m_jj", "mjj", "mass", "masses", "dijet_mass"])
_TRUTH_WORDS = frozenset(
    ["is_signal", "issignal", "label", "labels", "signal_label", "truth", "truth_label", "y_true"]
)
# Drawing from these without a seed gives other scores in each run.
_SEEDED = frozenset(["Generator", "PCG64", "Philox", "SeedSequence", "default_rng"])
_TORCH_RANDOM = frozenset(["rand", "randint", "randn", "randperm", "normal", "bernoulli"])
_TRAINS = frozenset(["cross_fit", "fit", "predict", "score", "train", "transform"])


def physics_findings(tree: ast.Module) -> list[Finding]:
    """Return warnings about the method of a script, and blockers for unseeded randomness."""
    findings: list[Finding] = []
    names = _names(tree)
    if "seed" not in names:
        findings.append(
            _finding(
                "major",
                None,
                "The seed of the task is not used.",
                "Pass task.seed to cross_fit or to the generator.",
            )
        )
    if not {"read_task", "/in/task.json"} & names:
        findings.append(
            _finding(
                "major",
                None,
                "The task is not read, so windows, features and seed are unknown to the script.",
                "Begin with task = read_task() from bumpscout_tools.script.",
            )
        )
    if not {"read_view", "/in/view.parquet"} & names:
        findings.append(
            _finding(
                "major",
                None,
                "The events are not read.",
                "Read them with read_view() from bumpscout_tools.script.",
            )
        )
    if "cross_fit" not in names:
        findings.append(
            _finding(
                "major",
                None,
                "cross_fit is not used: events may be scored by what was trained on them.",
                "Use bumpscout_tools.detectors.cross_fit.",
            )
        )
    findings += _randomness(tree)
    findings += _swallowed(tree)
    findings += _truth_words(tree)
    findings += _mass_scores(tree)
    return findings


def _finding(severity: Severity, node: ast.AST | None, message: str, remedy: str) -> Finding:
    line = getattr(node, "lineno", None)
    return Finding(severity=severity, line=line, message=message, remedy=remedy)


def _names(tree: ast.Module) -> set[str]:
    """Return every identifier, attribute and short string of a script."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def _dotted(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Attribute):
        return (*_dotted(node.value), node.attr)
    return (node.id,) if isinstance(node, ast.Name) else ("",)


def _randomness(tree: ast.Module) -> list[Finding]:
    findings = []
    seeds_torch = any(
        isinstance(node, ast.Attribute) and node.attr == "manual_seed" for node in ast.walk(tree)
    )
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        path = _dotted(node.func)
        function = path[-1]
        global_numpy = len(path) > 2 and path[-2] == "random" and function not in _SEEDED
        unseeded = function == "default_rng" and not node.args and not node.keywords
        global_torch = path[0] == "torch" and function in _TORCH_RANDOM and not seeds_torch
        if global_numpy or unseeded or global_torch:
            findings.append(
                _finding(
                    "blocker",
                    node,
                    f"{'.'.join(path)}() draws without the seed of the task: replays could not "
                    "repeat the scores.",
                    "Use numpy.random.default_rng(task.seed), or torch.manual_seed(task.seed).",
                )
            )
    return findings


def _swallowed(tree: ast.Module) -> list[Finding]:
    findings = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or _dotted(node.type)[-1] in ("BaseException", "Exception")
        if broad and not any(isinstance(item, ast.Raise) for item in ast.walk(node)):
            findings.append(
                _finding(
                    "major",
                    node,
                    "Errors are swallowed.",
                    "Let errors stop the script with their traceback.",
                )
            )
    return findings


def _truth_words(tree: ast.Module) -> list[Finding]:
    findings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            word = node.slice.value
            if isinstance(word, str) and word.lower() in _TRUTH_WORDS:
                findings.append(
                    _finding(
                        "major",
                        node,
                        f"The script asks for {word!r}; views hold no truth.",
                        "Use only event_id, mass and the features of the task.",
                    )
                )
        elif isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            if "truth" in word.lower() or word.lower() in ("is_signal", "y_true"):
                findings.append(
                    _finding(
                        "minor",
                        node,
                        f"The name {word} speaks of truth; views hold none.",
                        "Name it after what it holds.",
                    )
                )
    return findings


class _Taint:
    """Which names hold the mass, followed through assignments but not through trainings."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def holds(self, node: ast.expr) -> bool:
        """Return whether an expression is made from the mass without a training between."""
        if isinstance(node, ast.Attribute) and node.attr in _MASS_NAMES:
            return True
        if isinstance(node, ast.Name):
            return node.id in self.names
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if node.slice.value in _MASS_NAMES:
                return True
        if isinstance(node, ast.Call) and _dotted(node.func)[-1] in _TRAINS:
            return False
        return any(
            self.holds(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)
        )

    def follow(self, tree: ast.Module) -> None:
        """Collect the names, twice for what is used before it is assigned in the text."""
        for _ in range(2):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and self.holds(node.value):
                    self._take(node.targets)
                elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                    if node.value is not None and self.holds(node.value):
                        self._take([node.target])

    def _take(self, targets: list[ast.expr]) -> None:
        for target in targets:
            inner = target
            while isinstance(inner, ast.Subscript | ast.Starred):
                inner = inner.value
            if isinstance(inner, ast.Name):
                self.names.add(inner.id)
            elif isinstance(inner, ast.Tuple | ast.List):
                self._take(inner.elts)


def _mass_scores(tree: ast.Module) -> list[Finding]:
    taint = _Taint()
    taint.follow(tree)
    findings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = _dotted(node.func)[-1]
            if name in ("write_scores", "save") and any(taint.holds(arg) for arg in node.args):
                findings.append(
                    _finding(
                        "major",
                        node,
                        "The scores seem to be made from the mass; the guards of the gate will "
                        "then refuse a claim.",
                        "Make scores from the features of the task only.",
                    )
                )
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            fixed = [s for s in sides if isinstance(s, ast.Constant) and _is_mass_like(s.value)]
            if fixed and any(taint.holds(side) for side in sides):
                findings.append(
                    _finding(
                        "major",
                        node,
                        "A mass is written into the script; windows come from the task.",
                        "Use task.windows_gev.",
                    )
                )
    return findings


def _is_mass_like(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 1
