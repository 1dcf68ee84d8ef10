"""
Tools for people who work on eventsvc itself.
"""
