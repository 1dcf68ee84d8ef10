"""Faster paths through Twisted, independent of events."""
