"""
Simulated servers around a data set: sessions, replication, persistence and Sentinels.

What they leave out:

  - C{MULTI}, RESP 3, inline commands, C{ACL}, and all databases but the first: nobody here uses them.
    Rights are given by L{simulation.servers.server.Server.set_user}.
  - Replicas of replicas: those of a primary that is demoted stay as they are until they are told to follow another one.
  - Snapshots (RDB): a server without an append-only file comes back empty.
  - Sentinels find nothing by themselves: L{simulation.servers.deployment.Deployment.fail_over} starts a failover.
"""
