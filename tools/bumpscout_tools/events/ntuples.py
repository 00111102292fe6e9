"""TreeMaker, ATLAS PHYSLITE, Delphes and ADFilter ntuples: which branch is which quantity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from bumpscout_tools.errors import InputDataError
from bumpscout_tools.events.layout import Branch, Layout, Objects
from bumpscout_tools.events.names import is_truth
from bumpscout_tools.events.nano import ELECTRON_GEV, MUON_GEV

__all__ = ["adfilter_layout", "delphes_layout", "physlite_layout", "treemaker_layout"]

MAX_TRIGGERS = 5000
_MUON_QUALITY_BITS = 0b11
"""Of an ATLAS muon: 0 tight, 1 medium, 2 loose, 3 very loose. Two bits above (xAOD::Muon) say
whether it passes the cuts on its inner track and those for high pT."""


def treemaker_layout(names: Collection[str], title: Callable[[str], str]) -> Layout | None:
    """Return the layout if these are branches of CMS TreeMaker.

    Args:
        names: branches of the tree ``PreSelection``.
        title: gives the title of a branch; that of ``TriggerPass`` names the triggers.

    Raises:
        InputDataError: if that title names none, or too many.
    """
    point = ".fCoordinates.f"
    if not {f"Jets{point}Pt", f"Jets{point}E"} <= set(names):
        return None
    extras: dict[str, dict[str, str]] = {
        "Jets": {
            "btag": "Jets_bJetTagDeepCSVBvsAll",
            "jet_id": "Jets_ID",
            "n_constituents": "Jets_multiplicity",
        },
        "JetsAK8": {
            "tau1": "JetsAK8_NsubjettinessTau1",
            "tau2": "JetsAK8_NsubjettinessTau2",
            "tau3": "JetsAK8_NsubjettinessTau3",
            "softdrop_mass": "JetsAK8_softDropMass",
            "jet_id": "JetsAK8_ID",
            "n_constituents": "JetsAK8_multiplicity",
        },
        "Electrons": {"charge": "Electrons_charge", "isolation": "Electrons_iso"},
        "Muons": {"charge": "Muons_charge", "isolation": "Muons_iso", "tight": "Muons_tightID"},
        "Photons": {"id": "Photons_fullID"},
    }
    kinds = {
        kind: Objects(
            pt=f"{prefix}{point}Pt",
            eta=f"{prefix}{point}Eta",
            phi=f"{prefix}{point}Phi",
            energy=f"{prefix}{point}E",
            extra=_present(extras[prefix], names),
        )
        for kind, prefix in (
            ("jets", "Jets"),
            ("fatjets", "JetsAK8"),
            ("electrons", "Electrons"),
            ("muons", "Muons"),
            ("photons", "Photons"),
        )
        if f"{prefix}{point}Pt" in names
    }
    triggers: tuple[str, ...] = ()
    if "TriggerPass" in names:
        triggers = tuple(name.strip() for name in title("TriggerPass").split(","))
        if len(triggers) > MAX_TRIGGERS or len(set(triggers)) != len(triggers):
            raise InputDataError(
                f"The title of the branch TriggerPass names {len(triggers)} triggers, some twice "
                "or too many. The file is damaged."
            )
    return Layout(
        format="cms-treemaker",
        kinds=kinds,
        met=("MET", "METPhi") if {"MET", "METPhi"} <= set(names) else None,
        trigger_list="TriggerPass" if triggers else None,
        trigger_names=triggers,
        weight="Weight" if "Weight" in names else None,
        truth=tuple(name for name in names if is_truth(name)),
    )


def physlite_layout(names: Collection[str]) -> Layout | None:
    """Return the layout if these are branches of ATLAS DAOD_PHYSLITE.

    Args:
        names: branches of the tree ``CollectionTree``.
    """
    aux = "AuxDyn."
    if f"AnalysisJets{aux}pt" not in names:
        return None
    extras: dict[str, dict[str, str]] = {
        "AnalysisJets": {"btag": "BTagging_AntiKt4EMPFlowAuxDyn.GN2v00_pb", "jvt": "NNJvtPass"},
        "AnalysisLargeRJets": {"tau1": "Tau1_wta", "tau2": "Tau2_wta", "tau3": "Tau3_wta"},
        "AnalysisElectrons": {"charge": "charge", "tight": "DFCommonElectronsLHTight"},
        "AnalysisMuons": {"charge": "charge", "quality": "quality"},
        "AnalysisPhotons": {"tight": "DFCommonPhotonsIsEMTight"},
    }
    kinds = {}
    for kind, prefix, mass, fixed in (
        ("jets", "AnalysisJets", "m", 0.0),
        ("fatjets", "AnalysisLargeRJets", "m", 0.0),
        ("electrons", "AnalysisElectrons", None, ELECTRON_GEV),
        ("muons", "AnalysisMuons", None, MUON_GEV),
        ("photons", "AnalysisPhotons", None, 0.0),
    ):
        whole = f"{prefix}{aux}"
        if {f"{whole}pt", f"{whole}eta", f"{whole}phi"} <= set(names):
            branches = {
                name: branch if "." in branch else f"{whole}{branch}"
                for name, branch in extras[prefix].items()
            }
            extra = _present(branches, names)
            if "quality" in extra:
                extra["quality"] = Branch((branches["quality"],), mask=_MUON_QUALITY_BITS)
            kinds[kind] = Objects(
                pt=f"{whole}pt",
                eta=f"{whole}eta",
                phi=f"{whole}phi",
                mass=None if mass is None else f"{whole}{mass}",
                fixed_mass=fixed,
                extra=extra,
            )
    weight = f"EventInfo{aux}mcEventWeights"
    return Layout(
        format="atlas-physlite",
        kinds=kinds,
        weight=weight if weight in names else None,
        gev=1e-3,
        truth=tuple(name for name in names if _atlas_truth(name)),
        notes=(
            "Momenta are converted from MeV. PHYSLITE holds only the terms that missing transverse "
            "momentum is rebuilt from, and trigger decisions as bits without names: neither is "
            "read.",
        ),
    )


def delphes_layout(names: Collection[str]) -> Layout | None:
    """Return the layout if these are branches of Delphes.

    Args:
        names: branches of the tree ``Delphes``.
    """
    if not {"Jet.PT", "Jet.Eta", "Jet.Phi", "Jet.Mass"} <= set(names):
        return None
    taus = {f"tau{n}": Branch(("FatJet.Tau[5]",), column=n - 1) for n in (1, 2, 3, 4)}
    kinds = {}
    for kind, prefix, mass, extra in (
        ("jets", "Jet", "Mass", {"btag": Branch(("Jet.BTag",), bit=0)}),
        ("fatjets", "FatJet", "Mass", taus),
        ("electrons", "Electron", None, {"charge": Branch(("Electron.Charge",))}),
        ("muons", "Muon", None, {"charge": Branch(("Muon.Charge",))}),
        ("photons", "Photon", None, {}),
    ):
        if {f"{prefix}.PT", f"{prefix}.Eta", f"{prefix}.Phi"} <= set(names):
            kinds[kind] = Objects(
                pt=f"{prefix}.PT",
                eta=f"{prefix}.Eta",
                phi=f"{prefix}.Phi",
                mass=None if mass is None else f"{prefix}.{mass}",
                fixed_mass={"electrons": ELECTRON_GEV, "muons": MUON_GEV}.get(kind, 0.0),
                extra={name: b for name, b in extra.items() if set(b.names) <= set(names)},
            )
    met = ("MissingET.MET", "MissingET.Phi")
    return Layout(
        format="delphes",
        kinds=kinds,
        met=met if set(met) <= set(names) else None,
        weight="Event.Weight" if "Event.Weight" in names else None,
        truth=tuple(name for name in names if is_truth(name) or name.startswith("Particle")),
    )


def adfilter_layout(names: Collection[str]) -> Layout | None:
    """Return the layout if these are branches of an ADFilter ntuple (arXiv:2409.03065).

    Args:
        names: branches of the tree ``Ntuple``.
    """
    if not {"JET_pt", "JET_eta", "JET_phi", "JET_mass", "MET_met"} <= set(names):
        return None

    def objects(prefix: str, fixed: float | None, constant: Mapping[str, float]) -> Objects:
        return Objects(
            pt=f"{prefix}_pt",
            eta=f"{prefix}_eta",
            phi=f"{prefix}_phi",
            mass=f"{prefix}_mass" if fixed is None else None,
            fixed_mass=fixed or 0.0,
            constant=constant,
        )

    light = objects("JET", None, {"btag": 0.0})
    tagged = objects("bJET", None, {"btag": 1.0}) if "bJET_pt" in names else None
    kinds = {
        "jets": Objects(
            light.pt, light.eta, light.phi, light.mass, constant=light.constant, joined=tagged
        )
    }
    for kind, prefix, fixed in (
        ("electrons", "EL", ELECTRON_GEV),
        ("muons", "MU", MUON_GEV),
        ("photons", "PH", 0.0),
    ):
        if f"{prefix}_pt" in names:
            kinds[kind] = objects(prefix, fixed, {})
    return Layout(
        format="adfilter",
        kinds=kinds,
        met=("MET_met", "MET_phi"),
        weight="Evt_Weight" if "Evt_Weight" in names else None,
        truth=tuple(name for name in names if is_truth(name)),
        notes=("Light jets and b-jets are one list; btag is 1 for those of the second.",),
    )


def _present(branches: Mapping[str, str], names: Collection[str]) -> dict[str, Branch]:
    return {name: Branch((branch,)) for name, branch in branches.items() if branch in names}


def _atlas_truth(name: str) -> bool:
    return is_truth(name) or "truth" in name.lower() or name.startswith(("Born", "HardScatter"))
