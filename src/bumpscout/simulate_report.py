"""What `bumpscout simulate` answers: the files of a box, never what is in it."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["BoxFile", "BoxReport"]


class BoxFile(BaseModel, frozen=True, extra="forbid"):
    """One file of a box.

    Attributes:
        path: where it is.
        layout: "features" or "raw".
        n_events: its rows.
        bytes: its size.
        sha256: of its content; the same card gives the same one.
    """

    path: str
    layout: str
    n_events: int
    bytes: int
    sha256: str


class BoxReport(BaseModel, frozen=True, extra="forbid"):
    """A finished box.

    Attributes:
        out: its folder.
        truth: folder of its truth.
        n_events: events in it.
        files: its files.
        went_on: it was there already, and whole.
    """

    out: str
    truth: str
    n_events: int
    files: tuple[BoxFile, ...]
    went_on: bool

    def text(self) -> str:
        """Say it in words."""
        first = "is there already" if self.went_on else "is simulated"
        lines = [f"The box in {self.out} {first}: {self.n_events} events."]
        lines += [
            f"  {file.layout:9} {file.path}  ({file.bytes / 1e6:.1f} MB, sha256 {file.sha256[:12]})"
            for file in self.files
        ]
        lines.append(f"  truth     {self.truth} (what was put in, and the label of each row)")
        return "\n".join(lines)
