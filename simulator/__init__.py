"""Made-up programmes: transfers as a programme would send them, the same bytes at every run.

The demo, the benchmarks and the tests share it. `life` and `scenes` tell the demo's fourteen months, of which
`demo_programme` makes one import file; `many_transfers` makes millions of rows in SQL. Nothing here reads a
clock, and no float touches a point.
"""
