"""Workbooks (XLSX), read and written by child processes: a small one can unpack to much memory."""
