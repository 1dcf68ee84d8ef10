"""
What people see of a stream in a browser: figures, alarms, events and their way.
"""
