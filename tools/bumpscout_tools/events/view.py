"""The view: the events of one search as detectors and scans see them, and its Parquet file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.spectra import SpectraTable

__all__ = ["EVENT_ID", "MASS", "View"]

MASS = "m_jj"
EVENT_ID = "event_id"

FloatArray = npt.NDArray[np.float64]
IdArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class View:
    """Events without truth labels, in an order that carries no information.

    Attributes:
        event_id: (n,) opaque identifier of the *original* event; copies of one event share it,
            so that folds made from it never split them.
        mass: (n,) GeV, the invariant mass that is scanned.
        features: (n, k) inputs of the detectors, finite.
        feature_names: names of the k columns.
        spectra: further masses and event categories, for grids of many spectra; None if the data
            have the one mass alone.
    """

    event_id: IdArray
    mass: FloatArray
    features: FloatArray
    feature_names: tuple[str, ...]
    spectra: SpectraTable | None = None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            InputDataError: if the columns do not fit together or hold unusable values.
        """
        n = len(self.mass)
        if self.event_id.shape != (n,) or self.features.shape != (n, len(self.feature_names)):
            raise InputDataError(
                f"The columns of a view do not fit together: {n} masses, event_id of shape "
                f"{self.event_id.shape}, features of shape {self.features.shape} for "
                f"{len(self.feature_names)} names."
            )
        if self.spectra is not None and len(self.spectra) != n:
            raise InputDataError(f"{n} events, but spectra of {len(self.spectra)}.")
        if len({EVENT_ID, MASS, *self.feature_names}) != len(self.feature_names) + 2:
            raise InputDataError(
                f"The names of the features {list(self.feature_names)} must differ from each other "
                f"and from {EVENT_ID} and {MASS}."
            )
        if not (np.isfinite(self.mass).all() and np.isfinite(self.features).all()):
            raise InputDataError("A view holds NaN or infinite values; drop or mend such events.")

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.mass)

    def select(self, mask: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> View:
        """Return the view of the selected rows."""
        spectra = None if self.spectra is None else self.spectra.select(mask)
        return View(
            self.event_id[mask], self.mass[mask], self.features[mask], self.feature_names, spectra
        )

    def rekeyed(self, secret: str) -> View:
        """Return the view with identifiers that mean nothing elsewhere; copies still share one.

        Args:
            secret: another one gives other identifiers.
        """
        key = hashlib.blake2b(secret.encode(), digest_size=16).digest()
        unique, position = np.unique(self.event_id, return_inverse=True)
        mixed = [
            hashlib.blake2b(int(event).to_bytes(8, "big"), digest_size=8, key=key).digest()
            for event in unique
        ]
        identifiers = np.array([int.from_bytes(digest, "big") for digest in mixed], dtype=np.uint64)
        return replace(self, event_id=identifiers[position])

    def sha256(self) -> str:
        """Return a hash of the content (names, ids, masses, features, spectra)."""
        names: tuple[str, ...] = self.feature_names
        arrays: list[npt.NDArray[Any]] = [self.event_id, self.mass, self.features]
        if self.spectra is not None:
            names = (*names, "", *self.spectra.mass_names, "", *self.spectra.category_names)
            arrays += [self.spectra.masses, self.spectra.categories]
        digest = hashlib.sha256("\x00".join(names).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write the view as Parquet: ``event_id``, ``m_jj`` and one column a feature.

        Further spectra are not written: a script scores events, it does not scan them.
        """
        columns: dict[str, Any] = {EVENT_ID: self.event_id, MASS: self.mass}
        for index, name in enumerate(self.feature_names):
            columns[name] = self.features[:, index]
        pq.write_table(pa.table(columns), path)

    @classmethod
    def read(cls, path: Path) -> View:
        """Read a view that `write` made.

        Raises:
            InputDataError: if the file is no such view.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputDataError(f"{path} is no readable Parquet view: {error}") from error
        names = tuple(name for name in table.column_names if name not in (EVENT_ID, MASS))
        if len(names) + 2 != table.num_columns:
            raise InputDataError(f"{path} lacks the columns {EVENT_ID} and {MASS}.")
        try:
            features = np.empty((table.num_rows, len(names)))
            for index, name in enumerate(names):
                features[:, index] = table[name].to_numpy()
            event_id = table[EVENT_ID].to_numpy().astype(np.uint64)
            mass = table[MASS].to_numpy().astype(np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputDataError(f"{path} holds columns that are no numbers: {error}") from error
        return cls(event_id=event_id, mass=mass, features=features, feature_names=names)
