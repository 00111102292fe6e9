"""The vetted physics library: events, features, detectors, background, statistics, scan, plots."""
