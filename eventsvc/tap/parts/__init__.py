"""
The parts of each role.  Importing them imports the reactor: L{eventsvc.tap.reactor} chooses it before.
"""
