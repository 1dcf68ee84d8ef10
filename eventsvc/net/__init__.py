"""Faster ways through Twisted; knows nothing of events."""
