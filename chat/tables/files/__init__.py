"""Files of tables, without the database: their encoding and dialect, types of columns, workbooks.

dialects   how a file is written: encoding, delimiter, quote, header, numbers, dates
reading    the records of a file, one at a time
cells      a cell's text as a value of a field's kind
guessing   names and kinds of columns, from a sample
formulas   cells that a spreadsheet would take for a formula
workbooks  XLSX, read and written by child processes with bounded memory
"""
