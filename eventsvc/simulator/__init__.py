"""Load from a seed."""
