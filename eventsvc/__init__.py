"""
eventsvc: an event gateway.  HTTP in, Redis Streams in the middle, handlers out.
"""

__version__ = "0.1.0"
