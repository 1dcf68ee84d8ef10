"""
Bugs to plant: each function replaces one function of eventsvc, and its docstring
describes the bug.
"""
