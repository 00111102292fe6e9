"""Runs the command line as ``python -m bumpscout``."""

from bumpscout.cli import main

if __name__ == "__main__":
    main()
