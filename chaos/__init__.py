"""
Breaks every link and process of eventsvc on purpose, and judges what became
of the events: C{python -m chaos list}.
"""
