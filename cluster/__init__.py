"""
Tries the chart on a real cluster, the one of kubectl's current context:
C{python -m cluster --help}.
"""
