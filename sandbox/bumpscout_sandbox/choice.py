"""Which sandbox is used: the one that was asked for, or the first that holds; never none."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from bumpscout_sandbox.errors import SandboxUnavailable
from bumpscout_sandbox.provider import CheckRow, Provider
from bumpscout_tools.errors import ConfigurationError

__all__ = [
    "AUTO",
    "PROVIDERS",
    "VARIABLE",
    "Finding",
    "Survey",
    "choose",
    "survey",
    "wanted_provider",
]

VARIABLE = "BUMPSCOUT_SANDBOX"
AUTO = "auto"


def _docker() -> Provider:
    from bumpscout_sandbox.docker_provider import DockerProvider

    return DockerProvider()


def _bubblewrap() -> Provider:
    from bumpscout_sandbox.bwrap import BubblewrapProvider

    return BubblewrapProvider()


def _apptainer() -> Provider:
    from bumpscout_sandbox.apptainer import ApptainerProvider

    return ApptainerProvider()


PROVIDERS: dict[str, Callable[[], Provider]] = {
    "docker": _docker,
    "bubblewrap": _bubblewrap,
    "apptainer": _apptainer,
}
"""All providers, in the order in which ``auto`` tries them."""


class Finding(BaseModel):
    """What the check of one sandbox found; `reason` says why it cannot be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    usable: bool
    reason: str
    rows: tuple[CheckRow, ...]


class Survey(BaseModel):
    """What this machine offers; `chosen` would be used, `reason` says why nothing can be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wanted: str
    chosen: str | None
    reason: str
    providers: tuple[Finding, ...]


def wanted_provider(wanted: str | None = None) -> str:
    """Return the name of a provider, or ``auto``.

    Args:
        wanted: what the caller asks for; by default the environment's BUMPSCOUT_SANDBOX, or auto.

    Raises:
        ConfigurationError: if there is no such provider.
    """
    name = wanted or os.environ.get(VARIABLE) or AUTO
    if name != AUTO and name not in PROVIDERS:
        source = "asked for" if wanted else f"in {VARIABLE}"
        raise ConfigurationError(
            f"There is no sandbox {name!r}, as {source}; choose one of {AUTO}, "
            f"{', '.join(PROVIDERS)}."
        )
    return name


def choose(wanted: str | None = None) -> Provider:
    """Return the sandbox to use; it has just passed its own check.

    Args:
        wanted: see `wanted_provider`.

    Raises:
        ConfigurationError: if there is no such provider.
        SandboxUnavailable: if the one asked for does not hold here, or none does; says why.
    """
    name = wanted_provider(wanted)
    looked: list[Finding] = []
    for candidate in _candidates(name):
        provider = PROVIDERS[candidate]()
        looked.append(_look_at(provider))
        if looked[-1].usable:
            return provider
    raise SandboxUnavailable(_no_sandbox(name, looked))


def survey(wanted: str | None = None) -> Survey:
    """Try every sandbox, or the one asked for, and say which of them would be used.

    Args:
        wanted: see `wanted_provider`.

    Raises:
        ConfigurationError: if there is no such provider.
    """
    name = wanted_provider(wanted)
    looked = tuple(_look_at(PROVIDERS[candidate]()) for candidate in _candidates(name))
    usable = [finding.name for finding in looked if finding.usable]
    return Survey(
        wanted=name,
        chosen=usable[0] if usable else None,
        reason="" if usable else _no_sandbox(name, looked),
        providers=looked,
    )


def _candidates(name: str) -> Sequence[str]:
    return tuple(PROVIDERS) if name == AUTO else (name,)


def _look_at(provider: Provider) -> Finding:
    rows = tuple(provider.check())
    bad = [row for row in rows if not row.ok]
    reason = " ".join(f"{row.what}: {row.how}. {row.remedy}" for row in bad)
    if len(rows) == len(bad) == 1:
        reason = bad[0].remedy
    return Finding(name=provider.name, usable=not bad, reason=reason, rows=rows)


def _no_sandbox(name: str, looked: Sequence[Finding]) -> str:
    if name != AUTO:
        return f"The sandbox {name} cannot be used here: {looked[0].reason}"
    reasons = " ".join(f"{finding.name}: {finding.reason}" for finding in looked)
    return f"No sandbox can be used on this machine, and nothing runs without one. {reasons}"
