"""The C{eventsvc} command for operators."""
