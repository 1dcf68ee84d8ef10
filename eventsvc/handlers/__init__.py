"""Ready-made handlers of events."""
