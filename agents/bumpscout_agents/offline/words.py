"""Words of requests: neutral ones, negations, subjects, and known ones that are not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["DETECTORS", "NEGATIONS", "NEUTRAL", "SUBJECTS", "UNSUPPORTED", "DetectorWords"]

NEUTRAL = frozenset(
    (
        "a all also an analyse analysis analyze and any anything apply are as at available be by "
        "can carry check could cut cuts data dataset detect do done down efficiencies efficiency "
        "entire event events evidence exist exists file find finding for from full get give given "
        "go has have hello help here hi how hunt hunting i i'd if in inside interesting into is it "
        "its just kindly know let let's like log look looking mass masses may me measure method my "
        "need new of on only onto or our out over physics please point points possible range "
        "ranges region require run sample samples scan scanning score scores search searches "
        "searching see select selected selection set should show shown some something spectra "
        "spectrum start step steps such take tell thanks that the their them then there these they "
        "this those threshold thresholds through to total try two up us use used using values very "
        "want we what where whether which while whole will with within working would you your"
    ).split()
)

NEGATIONS = (
    "avoid",
    "cannot",
    "don't",
    "drop",
    "except",
    "excluding",
    "exclude",
    "ignore",
    "ignoring",
    "instead of",
    "neither",
    "never",
    "no",
    "nor",
    "not",
    "other than",
    "outside",
    "rather than",
    "reject",
    "remove",
    "unless",
    "veto",
    "without",
)

# What is searched for. The first list names the dijet spectrum, the second a narrow excess in it.
SUBJECTS = (
    r"\b(?:di-?jets?|two-jets?|2-jets?|m_?jj|m\(jj\)|pairs? of jets|jet pairs?)\b",
    r"\b(?:resonan(?:ces?|t)|bumps?|bump-?hunt(?:ing|s)?|excess(?:es)?|peaks?|anomal(?:y|ies|ous)"
    r"|new (?:physics|particles?)|signals?)\b",
    r"\b(?:narrow|new|heavy|unknown|hadronic|bsm|beyond the standard model|model-?agnostic"
    r"|model-?independent|unexpected|significant|invariant)\b",
)


class DetectorWords(NamedTuple):
    """How a request names a detector, what it is called, and its name and settings in a plan.

    A detector that is not there yet has no name in a plan. `inputs` is the set of features that a
    detector needs in place of those of the plan.
    """

    pattern: str
    label: str
    name: str | None = None
    settings: Mapping[str, str | bool] = MappingProxyType({})
    inputs: str | None = None


_AUTOENCODER = r"(?:dense )?auto-?encoders?"
_VAE = r"(?:variational auto-?encoders?|vaes?)"
_RMM = r"(?:rmm|rapidity[- ]mass[- ]matri(?:x|ces))"

# Longer names first: what one has taken, the next does not see.
DETECTORS: tuple[DetectorWords, ...] = (
    DetectorWords(r"cwola(?:[ -]hunting)?", "CWoLa hunting", "cwola"),
    DetectorWords(r"la-?cathode", "LaCATHODE", "cathode", {"latent": True}),
    DetectorWords(r"cathode", "CATHODE", "cathode"),
    DetectorWords(r"r-?anode", "R-ANODE", "r-anode"),
    DetectorWords(r"anode", "ANODE", "anode"),
    DetectorWords(r"quak", "QUAK", "quak"),
    DetectorWords(r"salad", "SALAD"),
    DetectorWords(r"curtains?", "CURTAINs"),
    DetectorWords(r"feta", "FETA"),
    DetectorWords(r"tnt|tag[ -](?:n['\u2019]?|and)[ -]train", "Tag N' Train", "tag-n-train"),
    DetectorWords(
        rf"{_VAE}(?: (?:of|on|in|with) (?:the )?(?:jet )?constituents(?: of (?:the )?jets)?)?",
        "variational autoencoder of constituents",
        "vae",
        inputs="constituents",
    ),
    DetectorWords(
        rf"{_RMM}[- ]{_AUTOENCODER}|{_AUTOENCODER} (?:of|on|in|with) (?:the |an? )?{_RMM}"
        r"(?: inputs?)?",
        "autoencoder of the rapidity-mass matrix",
        "autoencoder",
        {"preset": "rmm"},
        inputs="rmm",
    ),
    DetectorWords(_AUTOENCODER, "dense autoencoder", "autoencoder"),
    DetectorWords(r"isolation[ -]forests?", "isolation forest", "isolation-forest"),
    DetectorWords(r"normali[sz]ing flows?", "normalizing flows"),
    DetectorWords(r"deep svdd|svdd", "Deep SVDD"),
    DetectorWords(
        r"(?:graph |deep )?neural net(?:work)?s?|transformers?|diffusion models?|gans?",
        "detectors with neural networks",
    ),
)

_SPECTRUM = "only the dijet mass m_jj can be scanned so far"
UNSUPPORTED: dict[str, str] = {
    r"(?:tri|three-|3-|four-|4-|multi-?|mono-?|b-?b-?)jets?|b-jets?|bjets?": _SPECTRUM
    + ", without tags on jets",
    r"di-?(?:muons?|electrons?|leptons?|photons?|bosons?|taus?|tops?|higgs)": _SPECTRUM,
    r"(?:muons?|electrons?|leptons?|photons?|taus?|met|missing (?:transverse )?energy)": _SPECTRUM,
    r"z'|w'|z-?prime|w-?prime|gravitons?|leptoquarks?|susy|supersymmetr\w+": (
        "the search does not depend on a model"
    ),
    r"(?:in the )?(?:b-?tag\w*|btag\w*|[\w-]+ categor(?:y|ies)|categor(?:y|ies)|channels?)": (
        "event categories are not there yet, all events are searched together"
    ),
    r"(?:broad|wide|non-?resonant)(?: resonances?)?": "only narrow bumps are searched",
    r"(?:upper |exclusion )?limits?(?: on [\w ]+)?": (
        "every search sets limits, in limits.json and its report, at 95% CL"
    ),
    r"(?:random )?seeds?(?: (?:of |= ?)?\d+)?(?:\s*[:=]\s*\d+)?": "give the seed with --seed",
    r"(?:blind|unblind|blinded|unblinded|blinding)": "give --blinding open or staged",
    r"(?:\d+(?:\.\d+)?|one|two|three|four|five)[ -]?(?:sigma|\u03c3)": (
        "the significance that a claim needs stays as it is"
    ),
    r"[\w./~-]*\.(?:h5|hdf5|root|csv|npy|npz|parquet)": "give the file with --data",
}
