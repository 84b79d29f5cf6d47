"""How a job runs on a machine: its log, locks and caches, how it is stopped, its GPU, memory, record."""
