"""
What every process that runs schedules needs, computed once: a first run fills the caches.
"""

from simulation.schedules.trial import try_seed

try_seed(0)
