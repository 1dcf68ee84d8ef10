"""
Simulated servers around a data set: sessions, replication, persistence and Sentinels.
"""
