"""We beside our peers and beside the physical limits; each module is run by `python -m benchmarks.NAME`."""
