"""What the package costs, timed beside the alternatives; run as `python -m benchmarks.NAME`."""
