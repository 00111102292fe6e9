"""ROOT files of events through uproot: trees are found by their branches, one branch read by one.

Names and aliases that a file holds are never evaluated as expressions, and only branches of plain
numbers, one or a list an event, are touched.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.layout import IntArray, Layout, assemble, one_value
from bumpscout_tools.events.names import is_identity, is_truth, is_weight, split_unit
from bumpscout_tools.events.nano import nano_layout
from bumpscout_tools.events.ntuples import (
    adfilter_layout,
    delphes_layout,
    physlite_layout,
    treemaker_layout,
)
from bumpscout_tools.events.reader import (
    MAX_COLUMNS,
    Contents,
    Wish,
    check_expansion,
    ranges,
)
from bumpscout_tools.events.table import EventTable

__all__ = ["RootReader"]

MAX_BRANCHES = 100_000
MAX_TREES = 200
_VECTOR_HEADER_BYTES = 10


@functools.cache
def _own_models() -> dict[Any, dict[int, Any]]:
    """Return the models of ROOT classes that uproot brings along, by class and version."""
    import uproot

    classes = [each for each in uproot.classes.values() if hasattr(each, "known_versions")]
    return {each: dict(each.known_versions) for each in classes}


def _restore_models() -> None:
    """Undo what files opened before did to uproot's models.

    A file may describe a class in a version of its own, and uproot then takes that description for
    all files of the process: a damaged one would spoil those after it.
    """
    for each, versions in _own_models().items():
        each.known_versions.update(versions)


class RootReader:
    """A ROOT file with one tree of events."""

    contents: Contents

    def __init__(self, path: Path) -> None:
        """Open the file and recognise its layout.

        Raises:
            InputDataError: if it is damaged, holds no tree of events, or an unknown layout.
        """
        import uproot

        _restore_models()
        self._name = str(path)
        with self._faults("the directory"):
            self._file = uproot.open({str(path): None}, handler=uproot.source.file.MemmapSource)
        try:
            end = int(self._file.file.fEND)
            if end > path.stat().st_size:
                raise InputDataError(
                    f"{path} is truncated: it has {path.stat().st_size} of its {end} bytes."
                )
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._faults("the list of trees"):
            keys = [key for key, kind in self._file.classnames().items() if kind == "TTree"]
            trees: dict[str, Any] = {}
            for key in keys[:MAX_TREES]:
                # Of several cycles of one name the first that is listed is the newest.
                trees.setdefault(key.rpartition(";")[0], self._file[key])
        found: list[tuple[int, Any, dict[str, Any], Layout | None]] = []
        for name, tree in trees.items():
            with self._faults(f"the tree {name[:60]!r}"):
                branches = _branches(tree)
                n = int(tree.num_entries)
            if len(branches) > MAX_BRANCHES:
                raise InputDataError(
                    f"{self._name}: a tree with {len(branches)} branches is no tree of events."
                )
            layout = _recognise(branches)
            found.append((n if layout else 0, tree, branches, layout))
        known = [each for each in found if each[3] is not None]
        if not known:
            known = [each for each in found if _flat_columns(each[2])]
        if not known:
            raise InputDataError(
                f"{self._name} is a ROOT file without a tree of events that is known: NanoAOD, "
                "TreeMaker, PHYSLITE, Delphes, ADFilter, or one with a plain column m_jj "
                f"({len(trees)} trees, {sum(len(each[2]) for each in found)} branches; "
                "RNTuple is not read)."
            )
        _, self._tree, self._branches, self._layout = max(known, key=lambda each: each[0])
        n_events = int(self._tree.num_entries)
        if n_events <= 0:
            raise InputDataError(f"{self._name} holds no events.")
        self._flat = _flat_columns(self._branches)
        self._check_size()
        self.contents = self._describe(n_events)

    def _describe(self, n_events: int) -> Contents:
        layout = self._layout
        if layout is None:
            truth = tuple(name for name in self._branches if is_truth(name))
            return Contents(
                format="root-flat",
                n_events=n_events,
                columns=tuple(self._flat),
                truth=truth,
                n_unread=len(self._branches) - len(self._flat) - len(truth),
            )
        kinds = (*layout.kinds, *(("constituents",) if layout.constituents else ()))
        used = set(layout.branches())
        return Contents(
            format=layout.format,
            n_events=n_events,
            columns=("met_pt", "met_phi") if layout.met else (),
            kinds=kinds,
            truth=layout.truth,
            n_unread=len(set(self._branches) - used - set(layout.truth)),
            notes=layout.notes,
        )

    def _check_size(self) -> None:
        wanted = self._layout.branches() if self._layout else iter(self._flat.values())
        for name in set(wanted) & set(self._branches):
            with self._faults(f"the branch {name[:60]!r}"):
                branch = self._branches[name]
                unpacked, stored = int(branch.uncompressed_bytes), int(branch.compressed_bytes)
                entries = int(branch.num_entries)
            check_expansion(f"{self._name}, branch {name[:60]!r},", unpacked, stored)
            if entries != self._tree.num_entries:
                raise InputDataError(
                    f"{self._name}: branch {name[:60]!r} has {entries} entries, its tree "
                    f"{self._tree.num_entries}. The file is damaged or was never closed."
                )

    def iterate(self, wish: Wish, chunk: int) -> Iterator[EventTable]:
        """Give the events in order, at most `chunk` at a time.

        Raises:
            InputDataError: naming branch and rows that cannot be read.
        """
        for start, stop in ranges(self.contents.n_events, chunk):
            fields = _Range(self, start, stop)
            if self._layout is not None:
                more = {
                    name: name
                    for name in wish.columns or ()
                    if name in self._branches
                    and name not in self._layout.truth
                    and _is_plain(self._branches[name])
                }
                yield assemble(fields, self._layout, wish, more)
            else:
                yield self._flat_table(fields, wish)

    def _flat_table(self, fields: _Range, wish: Wish) -> EventTable:
        columns: dict[str, npt.NDArray[np.float64]] = {}
        units: dict[str, str] = {}
        for name, branch in self._flat.items():
            if wish.wants_column(name):
                columns[name] = fields.scalar(branch).astype(np.float64)
                units[name] = split_unit(branch)[1]
        weights = [name for name in self._branches if is_weight(name)]
        weight = one_value(fields, weights[0]).astype(np.float64) if weights else None
        return EventTable(columns, format="root-flat", units=units, weight=weight)

    def read(self, name: str, start: int, stop: int) -> Any:
        """Return the awkward array of one branch.

        Raises:
            InputDataError: if it cannot be read.
        """
        import uproot

        branch = self._branches[name]
        with self._faults(f"branch {name[:60]!r}, rows {start} to {stop}"):
            interpretation = branch.interpretation
            if "Double32_t" in repr(interpretation):
                # std::vector<Double32_t> is stored as float behind the header of the vector.
                interpretation = uproot.AsJagged(
                    uproot.AsDtype(">f4"), header_bytes=_VECTOR_HEADER_BYTES
                )
            return branch.array(interpretation, entry_start=start, entry_stop=stop, library="ak")

    @contextlib.contextmanager
    def _faults(self, where: str) -> Iterator[None]:
        try:
            yield
        except InputDataError:
            raise
        except Exception as error:
            # What uproot raises on damaged files has no common base but Exception.
            reason = (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:200]
            raise InputDataError(
                f"{self._name} cannot be read as ROOT ({where}): {type(error).__name__}: {reason}. "
                "The file may be truncated or damaged."
            ) from error

    @property
    def name(self) -> str:
        """Path of the file."""
        return self._name

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class _Range:
    reader: RootReader
    start: int
    stop: int

    @property
    def what(self) -> str:
        return f"{self.reader.name}, rows {self.start} to {self.stop}"

    @property
    def n(self) -> int:
        return self.stop - self.start

    def scalar(self, name: str) -> npt.NDArray[Any]:
        array = self.reader.read(name, self.start, self.stop)
        if array.ndim != 1:
            raise ValueError(name)
        return _plain(array.layout, self.what, name)

    def jagged(self, name: str) -> tuple[IntArray, npt.NDArray[Any]]:
        import awkward as ak

        layout = self.reader.read(name, self.start, self.stop).layout
        if not layout.is_list:
            raise InputDataError(
                f"{self.what}: branch {name[:60]!r} does not hold a list an event, as its layout "
                "demands."
            )
        packed = ak.to_packed(ak.Array(layout)).layout.to_ListOffsetArray64(True)
        offsets = np.asarray(packed.offsets.data, dtype=np.int64)
        return offsets, _plain(packed.content, self.what, name)


def _plain(layout: Any, what: str, name: str) -> npt.NDArray[Any]:
    import awkward as ak

    if layout.is_regular or layout.is_numpy:
        values = np.asarray(ak.to_numpy(layout, allow_missing=False))
        if values.dtype.kind in "fiub":
            return values
    raise InputDataError(f"{what}: branch {name[:60]!r} does not hold plain numbers.")


def _branches(tree: Any) -> dict[str, Any]:
    # Names are those of the branch itself: a path leads to the same one from its parents.
    out: dict[str, Any] = {}
    for branch in tree.itervalues(recursive=True):
        out.setdefault(str(branch.name), branch)
        if len(out) > MAX_BRANCHES:
            break
    return out


def _recognise(branches: Mapping[str, Any]) -> Layout | None:
    return (
        nano_layout(branches)
        or treemaker_layout(branches, lambda name: str(branches[name].title))
        or physlite_layout(branches)
        or delphes_layout(branches)
        or adfilter_layout(branches)
    )


def _flat_columns(branches: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a flat tree with a mass: name without unit, branch."""
    names = {split_unit(name)[0]: name for name in branches}
    mass = names.get("m_jj")
    if mass is None or len(names) > MAX_COLUMNS or not _is_plain(branches[mass]):
        return {}
    return {
        name: branch
        for name, branch in names.items()
        if not (is_truth(name) or is_weight(name) or is_identity(name))
        and _is_plain(branches[branch])
    }


def _is_plain(branch: Any) -> bool:
    kind = branch.interpretation
    return type(kind).__name__ == "AsDtype" and kind.to_dtype.shape == ()
