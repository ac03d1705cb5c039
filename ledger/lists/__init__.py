"""Transfers and balances as people look for them: filters, sort, pages, exports."""
