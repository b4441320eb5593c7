"""What credits buy: quotes, holds, vouchers, queued jobs."""
