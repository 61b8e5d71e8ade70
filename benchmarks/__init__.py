"""Benchmarks: real processes of the product, measured from outside. How to run and read them: README.md."""
