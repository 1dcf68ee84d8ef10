"""Writes logs and publishes metrics."""
