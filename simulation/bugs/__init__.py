"""
Subtle bugs to plant, beside those of L{chaos.bugs}: each function replaces one
function or script of eventsvc, and its docstring describes the bug.
"""
