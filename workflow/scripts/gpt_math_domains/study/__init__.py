"""What a study is before anything runs: its configuration, what it costs, what makes it stale."""
