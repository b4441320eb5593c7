"""Compute credits: signed receipts for model layers, a verifiable log, spot checks, GPU time in return."""

__version__ = "0.1.0"
