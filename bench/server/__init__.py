"""What serving costs: `python -m bench.server`."""
