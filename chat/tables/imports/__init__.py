"""Imports: a file becomes rows of a table, all of them in one transaction.

    creation    the file is stored as it comes
    inspecting  a worker reads it through: encoding, dialect, kinds of columns, first rows
    choices     its owner changes dialect, mapping and mode
    control     start, cancel, delete
    loading     a worker checks each row, and copies it into a table of its own
    applying    in one transaction they become rows of the table, or change its rows
    undoing     what an import did is taken back, as far as nobody has changed it since
    retention   what ended imports leave behind is deleted

A worker that dies is followed by another one, which begins the step again.
"""
