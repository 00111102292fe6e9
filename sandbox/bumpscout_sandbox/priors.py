"""Simulated signal events that a detector learns from: read by the host, carried by the plan.

A plan names files of signal events. Before it is carried out each becomes a `SignalPrior` within
the settings: at most 2000 events in the features of the detector, and the SHA-256 of the file. So
the hash of the plan covers the events, every replay has them, and no script sees a path.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bumpscout_sandbox.text import printable
from bumpscout_sandbox.vault import NAME_LENGTH, Vault
from bumpscout_tools.detectors.settings import QuakSettings
from bumpscout_tools.detectors.settings_density import MAX_PRIOR_EVENTS, SignalPrior
from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.features.catalogue import inputs_of_features
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["read_priors"]

_SEED = 1  # of the choice of events: one file always gives the same plan


def read_priors(
    plan: SearchPlan, data_sha256: str, named: Collection[str] | None = None
) -> SearchPlan:
    """Return the plan with the events of the files that its detectors name.

    Args:
        plan: the search plan.
        data_sha256: of the file that is searched, which is no simulation of a signal.
        named: files that the user has named; None where the plan itself is the user's.

    Raises:
        ConfigurationError: if a detector needs priors and has none, or names a file that the user
            has not.
        InputDataError: if a file is missing, cannot be read, has too few events or not the features
            of the detector, or is the one that is searched.
    """
    detectors = tuple(_with_priors(one, data_sha256, named) for one in plan.detectors)
    return plan if detectors == plan.detectors else plan.model_copy(update={"detectors": detectors})


def _with_priors(
    detector: DetectorPlan, data_sha256: str, named: Collection[str] | None
) -> DetectorPlan:
    settings = detector.settings
    if not isinstance(settings, QuakSettings):
        return detector
    if not settings.files and not settings.priors:
        raise ConfigurationError(
            "QUAK needs files of simulated signal events: name them in its settings as `files: "
            '[FILE, ...]`, or say "QUAK with the priors in FILE".'
        )
    if named is not None and (unknown := sorted(set(settings.files) - set(named))):
        raise ConfigurationError(
            f"The plan takes priors from {printable(unknown[0], 300)}, which the request does not "
            "name. Only files that a request names are read."
        )
    if not settings.files:
        return detector
    read = tuple(_read(file, detector.features, data_sha256) for file in settings.files)
    priors = [one.model_dump() for one in (*settings.priors, *read)]
    filled = settings.model_dump() | {"files": (), "priors": priors}
    return DetectorPlan.model_validate(detector.model_dump() | {"settings": filled})


def _read(file: str, features: tuple[str, ...], data_sha256: str) -> SignalPrior:
    path = Path(file).expanduser()
    name = printable(path.name, NAME_LENGTH)
    if not path.exists():
        raise InputDataError(
            f"There is no file {printable(file, 300)}, which QUAK is to take a prior from; check "
            "the path."
        )
    try:
        vault = Vault.open(path, seed=_SEED, inputs=inputs_of_features(features))
    except InputDataError as error:
        if name in str(error):
            raise
        raise InputDataError(f"{name}: {error}") from error
    card, view = vault.card(), vault.view()
    if card.sha256 == data_sha256:
        raise InputDataError(
            f"{name} is the file that is searched; a prior of QUAK is a simulation of a signal."
        )
    missing = [one for one in features if one not in view.feature_names]
    if missing:
        raise InputDataError(
            f"{name} ({card.format}) lacks {', '.join(missing[:20])}, which QUAK uses. Give signal "
            "events in the format of the data."
        )
    columns = [view.feature_names.index(one) for one in features]
    # The vault has permuted the rows.
    values = view.features[:MAX_PRIOR_EVENTS][:, columns]
    return SignalPrior.of(name, card.sha256, features, values)
