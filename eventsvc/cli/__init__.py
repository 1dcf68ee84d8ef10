"""The C{eventsvc} command for people."""
