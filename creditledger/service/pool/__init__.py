"""A pool's server: appends over HTTP in group commits, and what readers ask for."""
