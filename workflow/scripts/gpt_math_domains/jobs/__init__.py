"""How a job runs on a machine: log, locks, caches, how it is stopped, GPU, memory and record."""
