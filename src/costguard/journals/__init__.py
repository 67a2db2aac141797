"""Where finished calls are kept to be read back."""
