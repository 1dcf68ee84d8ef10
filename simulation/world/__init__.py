"""
The world of a run: processes, their clocks, the network between them, and what
goes wrong there.
"""
