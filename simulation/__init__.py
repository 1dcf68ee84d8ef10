"""
The simulation: whole services on one simulated clock, against a model of Redis,
under faults that a seed chooses.
"""
