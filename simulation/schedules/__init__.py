"""
Schedules: what a simulated world is made of, and the faults it meets.  Makes them
from seeds, runs many, shrinks the failing ones, and tells what happened.
"""
