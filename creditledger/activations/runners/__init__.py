"""Re-execution of a span of layers."""
