"""The offline policy: plans, scripts, reviews and texts by rule; it is no language model."""

from bumpscout_agents.offline.model import OfflineModel

__all__ = ["OfflineModel"]
