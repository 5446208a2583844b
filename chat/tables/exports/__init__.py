"""Exports: the rows of a table or view as CSV, JSONL or XLSX.

control    begin, cancel, delete
columns    each field as texts or JSON, by an expression of SQL: choices by their names
writing    one COPY reads all rows, as they are at one moment, into a file
working    one step of an export, by the worker that has its lease
"""
