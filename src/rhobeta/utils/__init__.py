"""Files, checksums, locks, signals and threads."""
