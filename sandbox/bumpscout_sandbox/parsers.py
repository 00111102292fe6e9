"""The parsers that run in the confined child: the user's files, and what scripts leave behind.

Each function takes plain JSON and returns (JSON values, arrays); see `bumpscout_sandbox.confined`.
Heavy imports stay inside the functions: a child loads only what it needs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_tools.errors import InputDataError

if TYPE_CHECKING:
    from bumpscout_tools.events.table import EventTable

__all__ = [
    "parse_events",
    "parse_json",
    "parse_npy",
    "parse_png",
    "parse_regions",
    "parse_spectrum",
]

Arrays = dict[str, npt.NDArray[np.generic]]
MAX_JSON_DEPTH = 32
MAX_DIGITS = 40
MAX_PIXELS = 40_000_000


def parse_events(
    path: str, name: str, seed: int, *, explored_only: bool = False
) -> tuple[dict[str, JsonValue], Arrays]:
    """Read a file of events and return the view without anything that could betray the truth.

    The label is not read. All columns are brought to single precision first, so that precision
    tells nothing; rows are permuted; identifiers are keyed hashes of the content of an event, so
    copies of one event share theirs. `explored_only` keeps the summaries of the columns to the
    events that staged blinding lets exploration see.
    """
    from bumpscout_sandbox.blinding import explored_events
    from bumpscout_tools.events.lhco import read_features
    from bumpscout_tools.features.dijet import dijet_view

    try:
        table = read_features(Path(path))
        with np.errstate(over="ignore"):
            columns = {
                key: value.astype(np.float32).astype(np.float64) + 0.0
                for key, value in table.columns.items()
            }
        table = type(table)(columns, table.format)
        view, report = dijet_view(table)
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error
    rows = view.event_id.astype(np.int64)
    identifiers = _identify(table, rows, seed)
    shown = rows[explored_events(identifiers)] if explored_only else slice(None)
    order = np.random.default_rng(seed).permutation(len(view))
    data: dict[str, JsonValue] = {
        "format": table.format,
        "n_events": table.n_events,
        "feature_names": list(view.feature_names),
        "drops": report.model_dump(mode="json"),
        "columns": [_summary(key, value[shown]) for key, value in columns.items()],
    }
    arrays: Arrays = {
        "event_id": identifiers[order],
        "mass": view.mass[order],
        "features": np.ascontiguousarray(view.features[order]),
    }
    return data, arrays


def parse_spectrum(path: str, name: str) -> tuple[dict[str, JsonValue], Arrays]:
    """Read a binned spectrum; the arrays are those of `Spectrum`, as far as it has them."""
    from bumpscout_tools.background.spectrum import read_spectrum

    try:
        spectrum = read_spectrum(Path(path))
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error
    columns = {
        "edges": spectrum.edges,
        "observed": spectrum.observed,
        "expected": spectrum.expected,
        "variances": spectrum.variances,
    }
    return {}, {key: column for key, column in columns.items() if column is not None}


def parse_regions(path: str, name: str) -> tuple[dict[str, JsonValue], Arrays]:
    """Read the counts of ABCD regions; the arrays are those of `Regions`, as far as it has them."""
    from bumpscout_tools.background.regions import read_regions

    try:
        regions = read_regions(Path(path))
    except InputDataError as error:
        raise InputDataError(str(error).replace(path, name)) from error
    rows = {
        "observed": regions.observed,
        "signal": regions.signal,
        "validation": regions.validation,
    }
    return {}, {key: np.array(row, dtype=np.float64) for key, row in rows.items() if row}


def _identify(table: EventTable, rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint64]:
    raw = np.column_stack([column[rows] for column in table.columns.values()]).astype("<f4")
    raw[np.isnan(raw)] = np.nan
    key = seed.to_bytes(32, "little", signed=True)
    width, content = raw.shape[1] * 4, raw.tobytes()
    digests = b"".join(
        hashlib.blake2b(content[start : start + width], digest_size=8, key=key).digest()
        for start in range(0, len(content), width)
    )
    return np.frombuffer(digests, dtype="<u8")


def _summary(name: str, values: npt.NDArray[np.float64]) -> dict[str, JsonValue]:
    finite = values[np.isfinite(values)]
    low, middle, high = np.percentile(finite, [0, 50, 100]) if len(finite) else (0.0, 0.0, 0.0)
    return {
        "name": name,
        "unit": "GeV" if name.startswith(("p", "m")) else "",
        "min": float(low),
        "median": float(middle),
        "max": float(high),
        "n_unusable": len(values) - len(finite),
    }


def parse_npy(path: str, max_bytes: int) -> tuple[dict[str, JsonValue], Arrays]:
    """Read one .npy of float64 numbers, without objects, of at most `max_bytes`."""
    content = _content(path, max_bytes)
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream)
    except KeyError:
        raise InputDataError("has an unknown version of the npy format") from None
    except (ValueError, SyntaxError, RecursionError, TypeError, MemoryError) as error:
        raise InputDataError(f"is no npy file: {str(error)[:200]}") from error
    if dtype.hasobject:
        raise InputDataError("holds Python objects; only plain numbers may leave the sandbox")
    if dtype != np.dtype("<f8"):
        raise InputDataError(f"has dtype {dtype}, float64 is needed")
    expected = math.prod(shape) * 8
    if len(shape) > 4 or len(content) - stream.tell() != expected:
        raise InputDataError(f"says shape {shape}, but its length does not fit")
    flat = np.frombuffer(content, dtype="<f8", offset=stream.tell())
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return {}, {"array": np.ascontiguousarray(array)}


def parse_json(path: str, max_bytes: int) -> tuple[dict[str, JsonValue], Arrays]:
    """Read one JSON file with caps on size, depth and digits, without NaN and infinities."""
    try:
        text = _content(path, max_bytes).decode("utf-8")
        value = json.loads(
            text, parse_constant=_constant, parse_int=_integer, parse_float=_real,
            object_pairs_hook=_object,
        )  # fmt: skip
    except UnicodeDecodeError:
        raise InputDataError("is no valid UTF-8") from None
    except RecursionError:
        raise InputDataError(f"is nested deeper than {MAX_JSON_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise InputDataError(f"is no JSON: {error.msg} at character {error.pos}") from error
    _check_depth(value)
    return {"value": value}, {}


def _constant(name: str) -> float:
    raise InputDataError(f"holds {name}, which is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InputDataError(f"holds a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > MAX_DIGITS or not math.isfinite(value := float(digits)):
        raise InputDataError(
            f"holds a number that is no finite float64 of at most {MAX_DIGITS} digits"
        )
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InputDataError("names a key twice")
    return value


def _check_depth(value: JsonValue) -> None:
    level: list[JsonValue] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise InputDataError(f"is nested deeper than {MAX_JSON_DEPTH} levels")


def parse_png(path: str, max_bytes: int) -> tuple[dict[str, JsonValue], Arrays]:
    """Decode a PNG and encode its pixels anew, without text, profiles or other passengers."""
    import warnings

    from PIL import Image

    content = _content(path, max_bytes)
    warnings.simplefilter("error")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputDataError(f"has more than {MAX_PIXELS} pixels")
            pixels = image.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning) as error:
        raise InputDataError(f"is no PNG image: {str(error)[:100]}") from error
    clean = Image.frombytes("RGBA", pixels.size, pixels.tobytes())
    target = io.BytesIO()
    clean.save(target, format="PNG")
    return {"width": clean.width, "height": clean.height}, {
        "png": np.frombuffer(target.getvalue(), dtype=np.uint8)
    }


def _content(path: str, max_bytes: int) -> bytes:
    with Path(path).open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InputDataError(f"is larger than {max_bytes} bytes")
    return content
