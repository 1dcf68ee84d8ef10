"""
Tests the chart on a real cluster, that of kubectl's current context:
C{python -m cluster --help}.
"""
