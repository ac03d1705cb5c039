"""What people do to the ledger by hand: give, deduct, decide, revoke, note, open and close."""
