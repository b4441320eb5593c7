"""Using a ledger that another machine serves. Source: specs/service.md §7."""
