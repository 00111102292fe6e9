"""CMS NanoAOD, with particle-flow candidates (PFNano) or of scouting data: branches by quantity."""

from __future__ import annotations

import re
from collections.abc import Collection

from bumpscout_tools.events.layout import Branch, Constituents, Layout, Objects
from bumpscout_tools.events.names import is_truth

__all__ = ["nano_layout"]

ELECTRON_GEV, MUON_GEV = 0.000511, 0.105658

_BTAGS = ("btagUParTAK4B", "btagPNetB", "btagRobustParTAK4B", "btagDeepFlavB", "btagDeepB")
"""Scores of b-tagging, the best first; the one that a file has is its ``btag``."""
_MET = ("PuppiMET", "PFMET", "MET", "ScoutingMET")
_JETS = {
    "jets": ("Jet", "ScoutingJet", "ScoutingPFJet"),
    "fatjets": ("FatJet", "ScoutingFatJet"),
    "electrons": ("Electron", "ScoutingElectron"),
    "muons": ("Muon", "ScoutingMuon"),
    "photons": ("Photon", "ScoutingPhoton"),
}
_EXTRA: dict[str, dict[str, tuple[str, ...]]] = {
    "jets": {"jet_id": ("jetId",), "btag": _BTAGS, "n_constituents": ("nConstituents",)},
    "fatjets": {
        "tau1": ("tau1",),
        "tau2": ("tau2",),
        "tau3": ("tau3",),
        "tau4": ("tau4",),
        "softdrop_mass": ("msoftdrop",),
        "jet_id": ("jetId",),
        "n_constituents": ("nConstituents",),
    },
    "electrons": {"charge": ("charge",), "id": ("cutBased",), "isolation": ("pfRelIso03_all",)},
    "muons": {"charge": ("charge",), "isolation": ("pfRelIso04_all",), "tight": ("tightId",)},
    "photons": {"id": ("cutBased", "cutBasedBitmap"), "isolation": ("pfRelIso03_all",)},
}
_FIXED = {"electrons": ELECTRON_GEV, "muons": MUON_GEV}
_CANDIDATES = ("PFCands", "PFCand", "ScoutingPFCand", "ScoutingParticle")
_LINKS = (
    ("FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx"),
    ("FatJetPFCand_jetIdx", "FatJetPFCand_pfCandIdx"),
)
_TRIGGER = re.compile(r"(HLT|DST)_\w+")


def nano_layout(names: Collection[str]) -> Layout | None:
    """Return the layout if these are branches of NanoAOD.

    Args:
        names: branches of the tree ``Events``.
    """
    kinds = {}
    for kind, prefixes in _JETS.items():
        found = next((p for p in prefixes if {f"{p}_pt", f"{p}_eta", f"{p}_phi"} <= set(names)), "")
        if found:
            kinds[kind] = _objects(names, kind, found)
    if not {"jets", "fatjets", "muons", "electrons"} & set(kinds):
        return None
    scouting = any(objects.pt.startswith("Scouting") for objects in kinds.values())
    constituents = _constituents(names)
    suffix = "-pf" if constituents is not None and not scouting else ""
    met = next((p for p in _MET if {f"{p}_pt", f"{p}_phi"} <= set(names)), None)
    return Layout(
        format="cms-nanoaod-scouting" if scouting else f"cms-nanoaod{suffix}",
        kinds=kinds,
        constituents=constituents,
        met=None if met is None else (f"{met}_pt", f"{met}_phi"),
        triggers={name: name for name in names if _TRIGGER.fullmatch(name)},
        weight="genWeight" if "genWeight" in names else None,
        truth=tuple(name for name in names if is_truth(name)),
    )


def _objects(names: Collection[str], kind: str, prefix: str) -> Objects:
    def first(options: tuple[str, ...]) -> str | None:
        return next((f"{prefix}_{o}" for o in options if f"{prefix}_{o}" in names), None)

    extra = {}
    for quantity, options in _EXTRA[kind].items():
        branch = first(options)
        if branch is not None:
            extra[quantity] = Branch((branch,))
    scores = tuple(f"{prefix}_particleNet_prob_{flavour}" for flavour in ("b", "bb"))
    if kind == "jets" and set(scores) <= set(names):
        extra["btag"] = Branch(scores)
    return Objects(
        pt=f"{prefix}_pt",
        eta=f"{prefix}_eta",
        phi=f"{prefix}_phi",
        mass=None if kind in ("electrons", "muons", "photons") else first(("mass", "m")),
        fixed_mass=_FIXED.get(kind, 0.0),
        extra=extra,
    )


def _constituents(names: Collection[str]) -> Constituents | None:
    prefix = next(
        (p for p in _CANDIDATES if {f"{p}_pt", f"{p}_eta", f"{p}_phi"} <= set(names)), None
    )
    if prefix is None:
        return None
    extra = {
        quantity: Branch((f"{prefix}_{branch}",))
        for quantity, branch in (("charge", "charge"), ("puppi_weight", "puppiWeight"))
        if f"{prefix}_{branch}" in names
    }
    particles = Objects(
        pt=f"{prefix}_pt",
        eta=f"{prefix}_eta",
        phi=f"{prefix}_phi",
        mass=f"{prefix}_mass" if f"{prefix}_mass" in names else None,
        extra=extra,
    )
    jet, candidate = next((link for link in _LINKS if set(link) <= set(names)), (None, None))
    return Constituents(particles, jet, candidate)
