"""Helpers that tests share: worlds on a fake clock, real servers and processes."""
