"""bumpscout: from a sentence to a defensible anomaly search."""

__version__ = "0.1.0"
