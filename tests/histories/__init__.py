"""Real processes on a real ledger under ``kill -9``, and a check of all that they saw: ``python -m tests.histories``."""
