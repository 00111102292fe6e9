"""The offline planner: a request in English to a search plan, by rules, with all said aloud."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from bumpscout_agents.offline.choices import (
    Said,
    read_beam,
    read_counts,
    read_detectors,
    read_features,
    read_orders,
)
from bumpscout_agents.offline.combining import combine_detectors
from bumpscout_agents.offline.priors import take_prior_files
from bumpscout_agents.offline.ranges import (
    CutRange,
    efficiencies_of,
    other_object,
    read_cross_sections,
    read_cuts,
    read_mass_range,
)
from bumpscout_agents.offline.text import MAX_CHARS, NUMBER, RequestText, quote
from bumpscout_agents.offline.words import SUBJECTS, UNSUPPORTED
from bumpscout_agents.options import PlanOptions
from bumpscout_agents.schemas import PlannerReply
from bumpscout_tools.scan.plan import DetectorPlan, SearchPlan

__all__ = ["plan_request"]

_HINT = (
    rf"(?:\b(?:around|near|at|about|close to|roughly|approximately|of|with a mass of) )?"
    rf"(?:{NUMBER})\s*[tgm]ev\b"
)


def plan_request(
    request: str, card: dict[str, JsonValue], options: dict[str, JsonValue]
) -> PlannerReply:
    """Plan a search.

    Args:
        request: what the user wrote.
        card: the dataset card; ``n_events`` and ``features`` are used where it has them.
        options: ``luminosity_fb``, ``sqrt_s_gev``, ``replays`` and ``blinding`` from the command
            line, null where not given; they win over the request.
    """
    default = SearchPlan()
    text = RequestText(request)
    said = Said()
    if not request.strip():
        said.not_understood.append(f"The request is empty. {_what_runs(default)}")
        return PlannerReply(
            understood=(),
            not_understood=tuple(said.not_understood),
            plan=PlanOptions.model_validate(options).apply(default),
        )
    plan: dict[str, JsonValue] = {}
    priors = take_prior_files(text)  # first: paths may hold words and numbers
    counts = read_counts(text, said)
    beam = read_beam(text, said)
    luminosity, sqrt_s = _beam(beam, options, plan, said, default)
    _counts(counts, options, plan, said)
    _cuts(text, counts.get("steps"), luminosity, plan, said)
    for phrase in _known_but_not_there(text):
        said.not_understood.append(phrase)
    _masses(text, sqrt_s, card, plan, said)
    orders = read_orders(text, said)
    if orders:
        plan["background"] = {**_part(plan, "background"), "orders": list(orders)}
    detectors = read_detectors(text, _features(card), said, priors)
    detectors = combine_detectors(text, detectors, said)
    features = read_features(text, _features(card), default.detectors[0].features, said)
    if detectors or features:
        plan["detectors"] = _detectors(detectors, features)
    said.recognised = bool(said.not_understood)
    for clause in text.take_negated_clauses():
        said.not_understood.append(f"{quote(clause)}: not understood, nothing of it is used.")
    _subject(text, said)
    for phrase in text.leftovers():
        said.not_understood.append(f"{quote(phrase)}: not understood, not used.")
    if text.cut:
        said.not_understood.append(f"Only the first {MAX_CHARS} characters were read.")
    return _reply(request, plan, options, said)


def _reply(
    request: str, plan: dict[str, JsonValue], options: dict[str, JsonValue], said: Said
) -> PlannerReply:
    try:
        made = SearchPlan.model_validate(plan)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said.understood.clear()
        said.not_understood.append(f"The choices do not make a plan: {first['msg']}.")
        made = SearchPlan()
    if not said.understood:
        what = "can be carried out" if said.recognised else "was understood"
        said.not_understood.insert(
            0, f"Nothing of the request {quote(request)} {what}. {_what_runs(made)}"
        )
    return PlannerReply(
        understood=_capped(said.understood),
        not_understood=_capped(said.not_understood),
        plan=PlanOptions.model_validate(options).apply(made),
    )


def _capped(sentences: list[str], most: int = 40) -> tuple[str, ...]:
    unique = list(dict.fromkeys(sentences))
    more = [f"And {len(unique) - most} further points."] if len(unique) > most else []
    return (*unique[:most], *more)


def _what_runs(plan: SearchPlan) -> str:
    cuts = plan.working_points.efficiencies
    return (
        "The default plan is run: a narrow dijet resonance over the whole mass spectrum, CWoLa "
        f"hunting, anomaly cuts from {_percent(cuts[0])} to {_percent(cuts[-1])}."
    )


def _detectors(
    chosen: list[dict[str, JsonValue]], features: tuple[str, ...] | None
) -> list[JsonValue]:
    """Return the detectors of the plan; a score column keeps its own feature."""
    shared: dict[str, JsonValue] = {"features": list(features)} if features else {}
    made = [DetectorPlan.model_validate({**shared, **item}) for item in chosen or [{}]]
    return [detector.model_dump(mode="json") for detector in made]


def _part(plan: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    part = plan.get(name)
    return part if isinstance(part, dict) else {}


def _float(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _features(card: dict[str, JsonValue]) -> tuple[str, ...]:
    from bumpscout_tools.features.dijet import DIJET_FEATURES

    listed = card.get("features")
    if isinstance(listed, list):
        names = [item.get("name") if isinstance(item, dict) else item for item in listed]
        return tuple(str(name) for name in names)
    return tuple(DIJET_FEATURES)


def _beam(
    beam: dict[str, float],
    options: dict[str, JsonValue],
    plan: dict[str, JsonValue],
    said: Said,
    default: SearchPlan,
) -> tuple[float | None, float]:
    luminosity, sqrt_s = _float(options.get("luminosity_fb")), _float(options.get("sqrt_s_gev"))
    if "luminosity_fb" in beam:
        if luminosity is not None and luminosity != beam["luminosity_fb"]:
            said.not_understood.append(
                f"Luminosity {beam['luminosity_fb']:g}/fb: --luminosity-fb {luminosity:g} wins."
            )
        else:
            luminosity = beam["luminosity_fb"]
            plan["luminosity_fb"] = luminosity
            said.understood.append(f"Integrated luminosity: {luminosity:g}/fb.")
    if "sqrt_s_gev" in beam:
        if sqrt_s is not None and sqrt_s != beam["sqrt_s_gev"]:
            said.not_understood.append(
                f"Collision energy {beam['sqrt_s_gev']:g} GeV: --sqrt-s {sqrt_s:g} wins."
            )
        else:
            sqrt_s = beam["sqrt_s_gev"]
            plan["background"] = {"sqrt_s_gev": sqrt_s}
            said.understood.append(f"Collision energy: {sqrt_s / 1000:g} TeV.")
    return luminosity, sqrt_s or default.background.sqrt_s_gev


def _counts(
    counts: dict[str, int],
    options: dict[str, JsonValue],
    plan: dict[str, JsonValue],
    said: Said,
) -> None:
    if "replays" in counts:
        given = options.get("replays")
        if given is not None and given != counts["replays"]:
            said.not_understood.append(f"{counts['replays']} replays: --replays {given} wins.")
        else:
            plan["replays"] = {"n": counts["replays"]}
            said.understood.append(f"Replays of the whole procedure: {counts['replays']}.")
    if "toys" in counts:
        plan["toys"] = counts["toys"]
        said.understood.append(f"Toys: {counts['toys']}.")
    if "refinement" in counts:
        plan["working_points"] = {"refine_rounds": counts["refinement"]}
        said.understood.append(f"Rounds of refinement of the cuts: {counts['refinement']}.")


def _masses(
    text: RequestText,
    sqrt_s_gev: float,
    card: dict[str, JsonValue],
    plan: dict[str, JsonValue],
    said: Said,
) -> None:
    found = read_mass_range(text, sqrt_s_gev)
    said.not_understood.extend(found.problems)
    low, high = found.low, found.high
    parts = [f"above {low / 1000:g} TeV"] if low is not None else []
    parts += [f"below {high / 1000:g} TeV"] if high is not None else []
    bounds = " and ".join(parts)
    present = card.get("mass_range_gev")
    if bounds and isinstance(present, list) and len(present) == 2:
        lowest, highest = _float(present[0]) or 0.0, _float(present[1]) or sqrt_s_gev
        if (low or 0.0) >= highest or (high or sqrt_s_gev) <= lowest:
            said.not_understood.append(
                f"No event has m_jj {bounds}: the data lie between {lowest / 1000:.3g} and "
                f"{highest / 1000:.3g} TeV; the bounds are not used."
            )
            bounds = ""
    if bounds:
        plan["spectrum"] = {"min_gev": low, "max_gev": high}
        said.understood.append(f"Only events with m_jj {bounds} are used.")
    for match in text.matches(_HINT):
        if not text.negated(match.start()) and not other_object(text, match):
            said.not_understood.append(
                f"{quote(text.take(match))}: masses are scanned, a mass is no input; restrict the "
                'range with "between A and B TeV".'
            )


def _cuts(
    text: RequestText,
    steps: int | None,
    luminosity_fb: float | None,
    plan: dict[str, JsonValue],
    said: Said,
) -> None:
    visible = read_cross_sections(text)
    cuts = read_cuts(text)
    said.not_understood.extend([*visible.problems, *cuts.problems])
    asked_pb = visible.high is not None or bool(visible.listed)
    asked = cuts.high is not None or bool(cuts.listed)
    values: tuple[float, ...] = ()
    if asked:
        values = _values(cuts, steps)
        if asked_pb:
            said.not_understood.append(
                f"{_picobarns(visible)}: cuts were given in percent as well; those are used."
            )
    elif asked_pb:
        _cross_sections(visible, steps, luminosity_fb, plan, said)
    if values:
        plan["working_points"] = {**_part(plan, "working_points"), "efficiencies": list(values)}
        listed = ", ".join(_percent(value) for value in values)
        said.understood.append(
            f"Anomaly cuts that keep {listed} of the events."
            if len(values) <= 2
            else f"Scan of the anomaly cut from {_percent(values[0])} down to "
            f"{_percent(values[-1])}, at {listed} of the events."
        )
    used_pb = asked_pb and not asked and luminosity_fb is not None
    if steps is not None and not (cuts.high and asked) and not (visible.high and used_pb):
        said.not_understood.append(
            f"{steps} steps: they need a range of cuts, such as from 10% down to 0.1%."
        )


def _values(cuts: CutRange, steps: int | None) -> tuple[float, ...]:
    if cuts.high is not None and cuts.low is not None:
        return efficiencies_of(cuts.high, cuts.low, steps)
    return cuts.listed


def _picobarns(visible: CutRange) -> str:
    if visible.high is not None:
        return f"{visible.high:g} pb to {visible.low:g} pb"
    return ", ".join(f"{value:g} pb" for value in visible.listed)


def _cross_sections(
    visible: CutRange,
    steps: int | None,
    luminosity_fb: float | None,
    plan: dict[str, JsonValue],
    said: Said,
) -> None:
    """Plan visible cross sections; the fitted mass range decides later what they select."""
    if luminosity_fb is None:
        said.not_understood.append(
            f"{_picobarns(visible)}: a visible cross section is N_selected / luminosity, and the "
            "luminosity of the data is unknown; give --luminosity-fb. The default cuts are used."
        )
        return
    values = visible.listed
    if visible.high is not None and visible.low is not None:
        # The spacing depends on the ratio alone; the upper end may lie above 1 pb.
        ratios = efficiencies_of(1.0, visible.low / visible.high, steps)
        inner = [float(f"{visible.high * ratio:.3g}") for ratio in ratios[1:-1]]
        values = tuple(sorted({visible.high, *inner, visible.low}, reverse=True))
    plan["luminosity_fb"] = luminosity_fb
    plan["working_points"] = {**_part(plan, "working_points"), "cross_sections_pb": list(values)}
    said.understood.append(
        f"Anomaly cuts at visible cross sections of {', '.join(f'{value:g}' for value in values)} "
        f"pb, at {luminosity_fb:g}/fb."
    )


def _percent(value: float) -> str:
    return f"{value * 100:.3g}%"


def _known_but_not_there(text: RequestText) -> list[str]:
    found = []
    for pattern, why in UNSUPPORTED.items():
        for match in text.matches(rf"(?<!\w)(?:{pattern})(?!\w)"):
            found.append(f"{quote(text.take(match))}: {why}.")
    return found


def _subject(text: RequestText, said: Said) -> None:
    """Say what is searched for, in the words that the request used."""
    for match in text.matches(r"\banomal\w+[- ](?:cuts?|scores?|thresholds?|selections?)\b"):
        text.take(match)
    dijet, narrow, adjectives = (
        [text.take(match) for match in text.matches(pattern)] for pattern in SUBJECTS
    )
    if dijet and narrow:
        said.understood.insert(0, "Search for a narrow resonance in the dijet mass m_jj.")
    elif narrow:
        said.understood.insert(0, "Search for a narrow resonance or excess.")
    elif dijet:
        said.understood.insert(0, "Search in the dijet mass m_jj.")
    elif adjectives:
        said.not_understood.append(f"{quote(' '.join(adjectives))}: of what is not said.")
