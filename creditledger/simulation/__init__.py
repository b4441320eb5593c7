"""What if: what a pool's rules are worth against those who would cheat it."""
