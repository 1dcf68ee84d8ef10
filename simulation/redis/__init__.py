"""A model of one Redis data set: a deterministic state machine that runs the scripts of eventsvc."""
