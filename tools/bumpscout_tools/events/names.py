"""What the names of columns say: truth that must not leave a reader, event weights, identity."""

from __future__ import annotations

import re

__all__ = ["is_identity", "is_truth", "is_weight", "split_unit"]

_TRUTH = re.compile(
    r"""
      .*label.* | y | y_true | target | ground_?truth | is_?(sig(nal)?|bkg|background|anomal\w*)
    | (sig(nal)?|bkg|background|anomaly)(_?(label|flag|id))? | class(_?(label|id))?
    | process(_?\w+)? | sample(_?\w+)? | origin | event_?type | dsid
    | gen | gen_(?!weight$).* | generator.* | .*gen_?(part|jet|match|vis|lep)\w*
    | lhe(?!weight$).* | hepmc.* | htxs_.* | pileup_.* | n?psweight\w*
    | .*(truth|flavou?r)\w* | .*(parton|hadron)_?(id|pdg_?id|label)\w* | mc_?(channel|id|truth)\w*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_GENERATOR = re.compile(r"n?(Gen|LHE|HTXS|PSWeight|Truth|Pileup)(?!eral)|gen[A-Z]|\w+_gen[A-Z]")
_WEIGHTS = {
    "weight", "weights", "event_weight", "eventweight", "evt_weight", "genweight", "gen_weight",
    "mcweight", "mc_weight", "mceventweight", "mc_event_weight", "w_event",
}  # fmt: skip
_IDENTITY = {
    "run", "runnum", "run_number", "runnumber", "lumi", "lumiblock", "luminosityblock",
    "luminosity_block", "lumiblocknum", "event", "evt", "evtnum", "event_number", "eventnumber",
    "event_id", "eventid", "index", "bunchcrossing", "orbitnumber", "unnamed: 0",
    "__index_level_0__",
}  # fmt: skip
_UNIT = re.compile(r"(.+?)\s*[\[(]\s*(GeV|TeV|rad)\s*[\])]")


def is_weight(name: str) -> bool:
    """Return whether a column holds the weight of the event."""
    return split_unit(name.strip())[0].lower() in _WEIGHTS


def is_identity(name: str) -> bool:
    """Return whether a column numbers events and says nothing about them."""
    return split_unit(name.strip())[0].lower() in _IDENTITY


def is_truth(name: str) -> bool:
    """Return whether a column tells, or may tell, what an event really is.

    A unit behind the name changes nothing.

    >>> [is_truth(name) for name in ("label [GeV]", "GenJet_pt", "Jet_hadronFlavour", "m_jj")]
    [True, True, True, False]
    """
    if is_weight(name):
        return False
    plain = split_unit(name.strip())[0].rpartition("/")[2]
    return bool(_TRUTH.fullmatch(plain) or _GENERATOR.match(plain))


def split_unit(name: str) -> tuple[str, str]:
    """Split a column name from the unit that is written behind it; an empty one if there is none.

    >>> split_unit("m_jj [TeV]")
    ('m_jj', 'TeV')
    """
    found = _UNIT.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")
