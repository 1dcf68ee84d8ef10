"""The edge to Redis: a connection that always comes back, and the event log on it."""
