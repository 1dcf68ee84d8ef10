"""
Benchmarks of eventsvc and its peers, which take turns in one run.
"""
