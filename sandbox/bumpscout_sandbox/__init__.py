"""The wall around code that nobody trusts, and its gate: vault, artifacts, ledger."""
