"""Twisted, made lean; knows no event."""
