"""The system of record: an append-only ledger of transfers, on SQLite or PostgreSQL."""
