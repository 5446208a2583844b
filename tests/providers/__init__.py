"""Vendors' formats, played byte by byte over real sockets.

To add one: a module in `vendors` with a list CASES. `test_vendors.py` finds it.
"""
