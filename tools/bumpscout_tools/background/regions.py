"""Reads the counts of ABCD regions from a text file, and refuses what cannot be fitted.

The layout is CSV with the header ``region,observed[,signal]`` and one line for each of the regions
A, B, C and D; ``signal`` is the signal expected in each region, in any unit. A validation region,
cut like the four, may follow as the lines VA, VB, VC and VD, without a signal. Lines that start
with ``#`` are comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bumpscout_tools.background.abcd import Abcd
from bumpscout_tools.background.csvfile import bad_line, csv_rows, number
from bumpscout_tools.errors import InputDataError

__all__ = ["Regions", "read_regions"]

_NAMES = ("A", "B", "C", "D")
_VALIDATION = ("VA", "VB", "VC", "VD")
_LAYOUT = "region,observed[,signal] with one line for each of A, B, C and D"


@dataclass(frozen=True, slots=True)
class Regions:
    """Counts of four regions, and what else a file of them may hold.

    `observed` events; `signal` in the unit of the file, or None; `validation` the counts of a
    validation region, or None.
    """

    observed: Abcd
    signal: Abcd | None = None
    validation: Abcd | None = None


def read_regions(path: Path) -> Regions:
    """Read the counts of ABCD regions.

    Args:
        path: the file.

    Raises:
        InputDataError: a file that cannot be read, or that holds something else; the message names
            the line.
    """
    columns: list[str] | None = None
    found: dict[str, dict[str, float]] = {}
    for line, fields in csv_rows(path, "a file of ABCD counts"):
        if columns is None:
            columns = [field.lower() for field in fields]
            if sorted(columns) not in (["observed", "region"], ["observed", "region", "signal"]):
                raise bad_line(path, line, f"the header is not {_LAYOUT}")
            continue
        if len(fields) != len(columns):
            raise bad_line(path, line, f"{len(fields)} values where {len(columns)} columns are")
        row = dict(zip(columns, fields, strict=True))
        region = row.pop("region").upper()
        if region not in (*_NAMES, *_VALIDATION):
            raise bad_line(path, line, f"there is no region {region[:20]!r}: use A, B, C, D")
        if region in found:
            raise bad_line(path, line, f"a second line of the region {region}")
        if region in _VALIDATION and not row.get("signal"):
            row.pop("signal", None)
        found[region] = {name: number(path, line, field) for name, field in row.items()}
    missing = [name for name in _NAMES if name not in found]
    if missing:
        raise InputDataError(
            f"{path} has no line of the region {', '.join(missing)}; the layout is {_LAYOUT}."
        )
    checked = [name for name in _VALIDATION if name in found]
    if checked and len(checked) < len(_VALIDATION):
        raise InputDataError(f"{path} has only {', '.join(checked)} of a validation region.")
    return Regions(
        observed=_row(found, _NAMES, "observed"),
        signal=_row(found, _NAMES, "signal") if "signal" in found["A"] else None,
        validation=_row(found, _VALIDATION, "observed") if checked else None,
    )


def _row(found: dict[str, dict[str, float]], names: tuple[str, ...], column: str) -> Abcd:
    a, b, c, d = (found[name][column] for name in names)
    return Abcd(a, b, c, d)
