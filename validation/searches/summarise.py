"""Write `results.md` from the results of `run_searches.py`: one row a case, and the counts.

python validation/searches/summarise.py validation/searches/results.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

CLAIMS = ("excess", "candidate")


def row(case: dict[str, object]) -> str:
    """Return one line of the table."""
    mass, true, z = case.get("mass_gev"), case["true_mass_gev"], case.get("local_z")
    error = f"{100 * float(str(case['mass_error'])):+.1f}%" if "mass_error" in case else ""
    return (
        f"| {case['case']} | {'' if true is None else f'{true:.0f}'} | {case.get('verdict', '')} | "
        f"{mass:.0f} {error} | {z:.1f} | {case.get('scan_p'):.2g} | "
        f"{case.get('procedure_p'):.2g} | "
        f"{case.get('n_reached')} of {case.get('n_replays')} |"
    )


def main() -> None:
    """Read the results, write the table beside them."""
    source = Path(sys.argv[1])
    cases = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    failed = [case for case in cases if case["exit"] != 0]
    done = sorted((c for c in cases if c["exit"] == 0), key=lambda c: c["case"])
    null = [case for case in done if case["true_mass_gev"] is None]
    signal = [case for case in done if case["true_mass_gev"] is not None]
    alarms = sum(case["verdict"] in CLAIMS for case in null)
    found = sum(case["verdict"] in CLAIMS and abs(case["mass_error"]) < 0.05 for case in signal)
    above = sum(case["local_z"] > 3 for case in null)
    lines = [
        "# Searches on data whose truth is known",
        "",
        "`run_searches.py` made the files, ran `bumpscout search` on each with default settings "
        "(20 replays, or at most 200 on background alone and where the name says `seed`), and "
        "scored the answer.",
        "",
        f"- Signal: {found} of {len(signal)} found as excess or candidate within 5% of the mass.",
        f"- Background alone: {alarms} of {len(null)} reported as excess or candidate; "
        f"{above} of {len(null)} have a local z above 3.",
        f"- Failed runs: {len(failed)}.",
        "",
        "| case | true mass | verdict | mass found | local z | scan p | procedure p | replays |",
        "|---|---|---|---|---|---|---|---|",
        *map(row, done),
    ]
    source.with_name("results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
