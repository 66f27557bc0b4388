"""stratum."""
