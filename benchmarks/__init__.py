"""Speed, measured on this machine: `make bench` prints the table."""
