"""The bridge's server: many clients' streams through one model.

A connection (:mod:`connection`) has one thread that reads, a stream (:mod:`stream`) one that
separates; windows of all streams meet in :mod:`batching`, on the thread that runs the network.
"""
