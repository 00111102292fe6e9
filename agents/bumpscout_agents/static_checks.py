"""Static checks of a script that a coder wrote: messages early; what protects is the sandbox.

A blocker keeps the script from running: it could not work in the sandbox, or has no business in
it. Everything else is told to the reviewers and to the coder, and the guards of the gate decide.
"""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath

from bumpscout_agents.dataflow import physics_findings
from bumpscout_agents.schemas import MAX_SCRIPT_CHARS, Finding, Severity

__all__ = ["ALLOWED_IMPORTS", "blocked", "check_script"]

ALLOWED_IMPORTS: tuple[str, ...] = (
    "__future__",
    "bisect",
    "bumpscout_tools",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "json",
    "lightgbm",
    "logging",
    "math",
    "matplotlib",
    "numbers",
    "numpy",
    "operator",
    "pathlib",
    "pyarrow",
    "re",
    "scipy",
    "statistics",
    "string",
    "time",
    "torch",
    "typing",
    "warnings",
)
_FORBIDDEN_MODULES = (
    "bumpscout_tools.simulation",
    "numpy.ctypeslib",
    "numpy.distutils",
    "numpy.f2py",
    "torch.distributed",
    "torch.hub",
    "torch.jit",
    "torch.multiprocessing",
    "torch.package",
    "torch.utils.cpp_extension",
)
_FORBIDDEN_NAMES = frozenset(
    (
        "__import__ breakpoint compile delattr eval exec exit globals input locals quit setattr "
        "vars"
    ).split()
)
_FORBIDDEN_ATTRIBUTES = frozenset(
    (
        "_os _sys builtins cpp_extension ctypes ctypeslib f2py fork importlib os pickle popen "
        "simulation socket subprocess sys system"
    ).split()
)
_ALLOWED_DUNDERS = frozenset(
    (
        "__all__ __call__ __doc__ __enter__ __exit__ __future__ __getitem__ __init__ __iter__ "
        "__len__ __main__ __name__ __post_init__ __version__"
    ).split()
)
_FILE_CALLS = frozenset(
    (
        "ParquetFile Path PosixPath PurePath fromfile genfromtxt load loadtxt memmap open "
        "read_table save savefig savetxt savez savez_compressed tofile write_table"
    ).split()
)
_DUNDER = re.compile(r"__[a-z]\w*__")
_SCORES_FILE = "/out/scores.npy"


def check_script(source: str) -> list[Finding]:
    """Check the text of a script.

    Args:
        source: the whole script.

    Returns:
        The findings, blockers first, each with line and remedy; empty where nothing is wrong.

    >>> [f.severity for f in check_script("import os")][:1]
    ['blocker']
    """
    if len(source) > MAX_SCRIPT_CHARS:
        message = f"The script has {len(source)} characters, more than {MAX_SCRIPT_CHARS}."
        return [_finding("blocker", None, message, "Write a shorter script; use the tools.")]
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        message = f"The script is no Python: {error.msg}."
        line = error.lineno if error.lineno and error.lineno > 0 else None
        return [_finding("blocker", line, message, "Mend the syntax.")]
    except (ValueError, RecursionError, MemoryError) as error:
        message = f"The script cannot be parsed: {error}."
        return [_finding("blocker", None, message, "Write plain Python text.")]
    try:
        visitor = _Visitor(_docstrings(tree))
        visitor.visit(tree)
        findings = [*visitor.findings, *physics_findings(tree)]
    except RecursionError:
        message = "The script is nested too deeply to be checked."
        return [_finding("blocker", None, message, "Write simpler expressions.")]
    if not visitor.writes_scores:
        findings.append(
            _finding(
                "blocker",
                None,
                "The script never writes its scores.",
                "End with bumpscout_tools.script.write_scores(scores).",
            )
        )
    order = {"blocker": 0, "major": 1, "minor": 2}
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda item: (order[item.severity], item.line or 0))[:100]


def blocked(findings: list[Finding] | tuple[Finding, ...]) -> bool:
    """Return whether a finding keeps the script from running."""
    return any(finding.severity == "blocker" for finding in findings)


def _finding(severity: Severity, line: int | None, message: str, remedy: str) -> Finding:
    return Finding(severity=severity, line=line, message=message, remedy=remedy)


def _docstrings(tree: ast.AST) -> frozenset[int]:
    """Return the ids of string constants that stand alone, which do nothing."""
    return frozenset(
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _is_dunder(name: str) -> bool:
    return _DUNDER.fullmatch(name) is not None and name not in _ALLOWED_DUNDERS


class _Visitor(ast.NodeVisitor):
    """Collects what has no business in a script."""

    def __init__(self, docstrings: frozenset[int]) -> None:
        self.findings: list[Finding] = []
        self.writes_scores = False
        self._docstrings = docstrings

    def _block(self, node: ast.AST, message: str, remedy: str) -> None:
        self.findings.append(_finding("blocker", getattr(node, "lineno", None), message, remedy))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._module(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self._block(node, "A relative import has nothing to refer to.", "Import by full name.")
            return
        module = node.module or ""
        self._module(node, module)
        for alias in node.names:
            if alias.name == "*":
                self._block(node, f"from {module} import * hides what is used.", "Import by name.")
            else:
                self._module(node, f"{module}.{alias.name}", only_forbidden=True)
                if alias.name in _FORBIDDEN_ATTRIBUTES or _is_dunder(alias.name):
                    self._block(
                        node,
                        f"{alias.name} of {module} may not be used.",
                        "Use the tools of the catalogue.",
                    )

    def _module(self, node: ast.AST, module: str, *, only_forbidden: bool = False) -> None:
        root = module.split(".")[0]
        forbidden = any(
            module == name or module.startswith(name + ".") for name in _FORBIDDEN_MODULES
        )
        if forbidden or (root not in ALLOWED_IMPORTS and not only_forbidden):
            self._block(
                node,
                f"The module {module} may not be imported.",
                f"Import only from: {', '.join(ALLOWED_IMPORTS)}.",
            )

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _FORBIDDEN_NAMES or (_is_dunder(node.id)):
            self._block(
                node, f"{node.id} may not be used.", "Write the computation out, without it."
            )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _FORBIDDEN_ATTRIBUTES or _is_dunder(node.attr):
            self._block(
                node,
                f"The attribute {node.attr} may not be used.",
                "Use the tools of the catalogue.",
            )
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner == "torch" and node.attr in ("load", "save", "jit", "hub", "compile"):
            self._block(
                node,
                f"torch.{node.attr} may not be used: no models are loaded, saved or compiled.",
                "Train within the script and write the scores.",
            )
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and id(node) not in self._docstrings:
            for name in _DUNDER.findall(node.value):
                if _is_dunder(name):
                    self._block(node, f"A string names {name}.", "Leave it out.")

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node.func)
        if name == "getattr":
            self._getattr(node)
        elif name in _FILE_CALLS:
            self._file_call(node, name)
        if name == "write_scores":
            self.writes_scores = True
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and not _is_constant(keyword.value, False):
                self._block(
                    node,
                    "Arrays of objects (pickles) may not be read or written.",
                    "Leave allow_pickle out.",
                )
        self.generic_visit(node)

    def _getattr(self, node: ast.Call) -> None:
        name = node.args[1] if len(node.args) > 1 else None
        text = name.value if isinstance(name, ast.Constant) else None
        if not isinstance(text, str) or text in _FORBIDDEN_ATTRIBUTES or _is_dunder(text):
            self._block(
                node,
                "getattr is used with a name that is computed or may not be used.",
                "Write the attribute out.",
            )

    def _file_call(self, node: ast.Call, name: str) -> None:
        paths = [arg for arg in node.args if isinstance(arg, ast.Constant)]
        texts = [arg.value for arg in paths if isinstance(arg.value, str)]
        if name == "open" and isinstance(node.func, ast.Name):
            first = node.args[0] if node.args else None
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                self._block(
                    node,
                    "open() is called with a path that is not written out.",
                    "Use read_task, read_view and write_scores, or a literal path in /in or /out.",
                )
                return
            texts = [first.value]
        for text in texts:
            if name == "open" and text in ("r", "w", "rb", "wb", "rt", "wt"):
                continue
            if ("/" in text or name == "open") and not _within(text):
                self._block(
                    node,
                    f"{name}({text!r}) leaves /in and /out.",
                    "Read from /in and write to /out only.",
                )
            if name == "save" and text == _SCORES_FILE:
                self.writes_scores = True


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _is_constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _within(text: str) -> bool:
    path = PurePosixPath(text)
    return (
        len(path.parts) > 1
        and path.parts[:2] in (("/", "in"), ("/", "out"))
        and (".." not in path.parts)
    )
