"""Repeats the search of a run folder with the same file, seed and options, and compares."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import click

from bumpscout import __version__
from bumpscout.console import guarded
from bumpscout.files import inside, read_bytes
from bumpscout.folder import SCAN_FILE, Options, RunRecord, read_record, sha256_of
from bumpscout.result import Result, read_result
from bumpscout.verify import verify_ledger
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.files import write_atomic

__all__ = ["RERUN_FILE", "check_folder", "compare", "main", "search_command", "write_rerun"]

RERUN_FILE = "rerun.py"
_MAX_SCRIPT_BYTES = 1 << 20

_TEXT = '''\
"""Repeats the search of this folder: same data, seed and options; then compares the results.

    python rerun.py --data FILE --out NEW_FOLDER

Before anything runs, it checks the hashes of the data and of the scripts in tasks/ and the chain of
ledger.jsonl. Scripts run only inside the sandbox. It needs bumpscout {version}.
"""

from pathlib import Path

from bumpscout.rerun import main

main(Path(__file__).resolve().parent)
'''


def write_rerun(folder: Path) -> None:
    """Write ``rerun.py`` into a run folder.

    Raises:
        ConfigurationError: if the folder cannot be written.
    """
    write_atomic(folder / RERUN_FILE, _TEXT.format(version=__version__))


def main(folder: Path) -> None:
    """Run the command line of ``rerun.py``."""

    @click.command()
    @click.option("--data", type=click.Path(path_type=Path), help="The same file of events.")
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder.")
    def repeat(data: Path | None, out: Path) -> None:
        """Repeat the search of this folder and compare."""
        sys.exit(guarded(lambda: _repeat(folder, data, out)))

    repeat()


def _repeat(folder: Path, data: Path | None, out: Path) -> None:
    record, result = read_record(folder), read_result(folder)
    path = data or Path(record.data)
    check_folder(folder, result, path)
    click.echo("Hashes of data and scripts and the ledger agree; searching again.")
    done = subprocess.run(search_command(folder, record, path, out), check=False)
    if done.returncode:
        raise ConfigurationError(
            f"The repeated search ended with exit code {done.returncode}; there is nothing to "
            "compare."
        )
    differences = compare(result, read_result(out))
    if differences:
        raise ConfigurationError(
            f"The repeated search differs: {'; '.join(differences)}. The versions of the packages "
            f"are listed in both {folder.name}/result.json and {out}/result.json."
        )
    click.echo("The repeated search gives the same plan, tests, bumps and verdict.")


def check_folder(folder: Path, result: Result, data: Path) -> None:
    """Check data, ledger and scripts of a run folder against its result.

    Raises:
        InputDataError: if the data file is missing or another one.
        ConfigurationError: if a script is not the one that was run.
        LedgerBroken: if the ledger was changed.
    """
    if not data.is_file():
        raise InputDataError(f"There is no file {data}; give the searched file with --data.")
    if result.dataset is None or sha256_of(data) != result.dataset.sha256:
        known = result.dataset.sha256 if result.dataset else "unknown"
        raise InputDataError(f"{data} is not the file that was searched (SHA-256 {known}).")
    verify_ledger(folder)
    for task in result.tasks:
        if task.script_sha256 is None or not re.fullmatch(r"[0-9]{2,4}", task.id):
            continue
        script = inside(folder / "tasks" / task.id, "script.py")
        if _sha256(read_bytes(script, _MAX_SCRIPT_BYTES)) != task.script_sha256:
            raise ConfigurationError(
                f"{script} is not the script that was run; restore the run folder."
            )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def search_command(folder: Path, record: RunRecord, data: Path, out: Path) -> list[str]:
    """Return the command that repeats the search or scan of a folder."""
    program = [sys.executable, "-m", "bumpscout"]
    if record.kind == "scan":
        config = folder / SCAN_FILE
        return [*program, "scan", f"--data={data}", f"--out={out}", "--", str(config)]
    command = [*program, "search", f"--data={data}", f"--out={out}"]
    # The plan was approved when it was first carried out; the repetition does not ask again.
    options = record.options.model_copy(update={"approve": "auto"})
    if options.blinding == "staged":
        command.append("--approve=auto")
    for name, value in options.model_dump().items():
        if value is not None and value != Options.model_fields[name].default:
            option = {"sqrt_s_gev": "sqrt-s"}.get(name, name.replace("_", "-"))
            command.append(f"--{option}={value}")
    return [*command, "--", record.request]


def compare(first: Result, second: Result) -> list[str]:
    """Return what differs between two results of the same search, beside times and paths."""
    found: list[str] = []
    if first.plan != second.plan:
        found.append("the plan")
    tests = [result.ledger.n_tests if result.ledger else None for result in (first, second)]
    if tests[0] != tests[1]:
        found.append(f"the number of tests in the ledger ({tests[0]} and {tests[1]})")
    if (first.verdict, first.claim) != (second.verdict, second.claim):
        found.append(f"the verdict ({first.verdict} and {second.verdict})")
    if [bump.result_id for bump in first.bumps] != [bump.result_id for bump in second.bumps]:
        found.append("which bumps were found")
    elif first.bumps != second.bumps:
        found.append("the numbers of the bumps")
    return found
