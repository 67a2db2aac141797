"""A world in which everything that can go wrong does so, from one seed: ``python -m tests.simulation --help``."""
