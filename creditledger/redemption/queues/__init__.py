"""Queues that run what a voucher bought."""
