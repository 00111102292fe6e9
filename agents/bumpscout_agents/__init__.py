"""Planner, coder, reviewers and the graph that runs them; start at `graph.run_search`."""
