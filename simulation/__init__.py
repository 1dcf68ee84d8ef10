"""Runs producers, consumers and Redis in one process, on a clock that a test turns."""
