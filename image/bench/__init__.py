"""Benchmarks: each writes rows of one format into `results`, and `report` prints and plots them."""
