"""Whether the ledger is what it was, and copies of it."""
