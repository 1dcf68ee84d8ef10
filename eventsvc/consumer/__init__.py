"""Reads a group, gives its events to a handler, and acknowledges them after."""
