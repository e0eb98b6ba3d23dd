"""Files, checksums, locks, signals, threads and the terminal."""
