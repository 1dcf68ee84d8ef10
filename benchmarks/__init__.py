"""
Benchmarks of eventsvc beside its peers: everything in one run, in turns.
"""
