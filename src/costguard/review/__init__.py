"""The monthly review: what the journal's calls add up to, what comes next, and what could be saved."""
