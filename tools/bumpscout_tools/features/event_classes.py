"""Exclusive event classes by numbers of objects, as in general searches, and their counting."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from bumpscout_tools.features.rmm_config import OBJECTS
from bumpscout_tools.features.rmm_objects import RmmObjects

__all__ = ["CLASS_OBJECTS", "ClassLimits", "class_name", "class_of", "event_classes"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Count = Annotated[int, Field(ge=0, le=20)]

CLASS_OBJECTS: tuple[str, ...] = ("met", "j", "b", "e", "mu", "tau", "gamma")
"""What is counted: missing energy (0 or 1), light jets, b-jets, leptons, photons."""

_MET, _J, _B, _E, _MU, _TAU, _GAMMA = range(len(CLASS_OBJECTS))


class ClassLimits(BaseModel):
    """Largest numbers of objects of a class; the defaults are those of the 36/fb publications.

    They give 6676 exclusive classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    met_max: Annotated[int, Field(ge=0, le=1)] = 1
    light_jets_max: Count = 6
    b_jets_max: Count = 4
    jets_max: Count = Field(default=9, description="light jets and b-jets together")
    each_lepton_max: Count = Field(default=3, description="electrons, muons, taus, each")
    photons_max: Count = 3
    leptons_max: Count = Field(default=5, description="electrons, muons and taus together")
    leptons_and_photons_max: Count = 5
    objects_max: Count = Field(default=12, description="all objects, without missing energy")
    objects_min: Count = Field(default=2, description="all objects, with missing energy")

    def allow(self, counts: IntArray) -> BoolArray:
        """Return (n,) which rows of counts (n, 7), in the order of `CLASS_OBJECTS`, are classes."""
        jets = counts[:, _J] + counts[:, _B]
        leptons = counts[:, _E] + counts[:, _MU] + counts[:, _TAU]
        photons = counts[:, _GAMMA]
        objects = jets + leptons + photons
        single = counts <= np.array(self._single())
        return np.asarray(
            single.all(axis=1)
            & (jets <= self.jets_max)
            & (leptons <= self.leptons_max)
            & (leptons + photons <= self.leptons_and_photons_max)
            & (objects <= self.objects_max)
            & (objects + counts[:, _MET] >= self.objects_min)
        )

    def _single(self) -> tuple[int, ...]:
        lepton = self.each_lepton_max
        jets = (self.light_jets_max, self.b_jets_max)
        return (self.met_max, *jets, lepton, lepton, lepton, self.photons_max)


def event_classes(limits: ClassLimits | None = None) -> IntArray:
    """List all exclusive classes.

    Args:
        limits: by default the published ones.

    Returns:
        (m, 7) counts of `CLASS_OBJECTS`, in lexicographic order.

    >>> event_classes().shape
    (6676, 7)
    """
    limits = ClassLimits() if limits is None else limits
    ranges = [np.arange(most + 1) for most in limits._single()]
    counts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(ranges))
    return counts[limits.allow(counts)]


def class_of(
    objects: RmmObjects, limits: ClassLimits | None = None, taus: IntArray | None = None
) -> tuple[IntArray, IntArray]:
    """Find the class of each event.

    Args:
        objects: selected objects of n events.
        limits: by default the published ones.
        taus: (n,) hadronic taus, where the data have them.

    Returns:
        The classes (m, 7) and (n,) the row of each event in them; -1 for events in none.
    """
    limits = ClassLimits() if limits is None else limits
    classes = event_classes(limits)
    counts = np.zeros((len(objects), len(CLASS_OBJECTS)), dtype=np.int64)
    counts[:, _MET] = objects.met[:, 0] > 0
    for kind, name in enumerate(OBJECTS):
        counts[:, CLASS_OBJECTS.index(name)] = objects.multiplicity[:, kind]
    if taus is not None:
        counts[:, _TAU] = taus
    allowed = limits.allow(counts)
    sizes = np.array(limits._single()) + 1
    keys = np.ravel_multi_index(tuple(classes.T), tuple(sizes))
    row = np.full(len(objects), -1, dtype=np.int64)
    mine = np.ravel_multi_index(tuple(counts[allowed].T), tuple(sizes))
    row[allowed] = np.searchsorted(keys, mine)
    return classes, row


def class_name(counts: IntArray) -> str:
    """Return a name such as ``met 2j 1b 1mu`` for one row of classes.

    >>> class_name(np.array([1, 2, 1, 0, 1, 0, 0]))
    'met 2j 1b 1mu'
    """
    words = ["met"] if counts[_MET] else []
    words += [f"{int(n)}{name}" for n, name in zip(counts[1:], CLASS_OBJECTS[1:], strict=True) if n]
    return " ".join(words)
