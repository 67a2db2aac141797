"""Libraries that guard spending, each made to stand in the same crowd."""
