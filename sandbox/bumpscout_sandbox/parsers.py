"""The parsers that run in the confined child: the user's files, and what scripts leave behind.

Each function takes plain JSON and returns (JSON values, arrays); see `bumpscout_sandbox.confined`.
Heavy imports stay inside the functions: a child loads only what it needs.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bumpscout_sandbox.event_parsers import parse_events, parse_format, parse_inspection
from bumpscout_tools.errors import InputDataError

__all__ = [
    "parse_events",
    "parse_format",
    "parse_inspection",
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
