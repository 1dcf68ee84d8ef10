"""Simulated traffic, reproducible from a seed."""
