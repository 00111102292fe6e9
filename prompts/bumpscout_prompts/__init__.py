"""The words given to models: one Markdown file a prompt, and a small loader."""

from bumpscout_prompts.loader import (
    MAX_VALUE_CHARS,
    PromptError,
    block,
    load,
    names,
    placeholders,
    render,
)

__all__ = [
    "MAX_VALUE_CHARS",
    "PromptError",
    "block",
    "load",
    "names",
    "placeholders",
    "render",
]
