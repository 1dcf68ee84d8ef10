"""Stores events: group commit over an event log."""
