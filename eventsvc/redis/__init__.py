"""The interface to Redis: a connection that always reconnects, and the event log on it."""
