"""The close of report months: what is read, built, audited and prepared before the ledger commits it."""
