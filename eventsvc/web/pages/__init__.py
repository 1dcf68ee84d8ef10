"""
The pages of the dashboard: HTML that works without scripts, and is kept up to date by one.
"""
