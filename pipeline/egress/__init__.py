"""The one way out to the network: a proxy that judges, queues, paces and counts, and the worker's side of it."""
