"""The command line: the one place that reads flags, files and the environment. Commands import what they need."""

from metapo.cli.main import main

__all__ = ["main"]
