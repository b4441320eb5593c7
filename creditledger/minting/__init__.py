"""What a node does: sessions, receipts, the outbox."""
