"""
Tests for L{eventsvc.net.server_certificates}: files that are valid or not, at the
start and later, and what clients get.
"""

from __future__ import annotations
