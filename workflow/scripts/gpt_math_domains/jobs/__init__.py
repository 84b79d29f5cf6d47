"""How a job runs on a machine: its log and locks, how it is stopped, its GPU, memory and record."""
