"""Runs: many requests as one thing, fed to the queue through a window.

    creation    a file and its options become a run
    reading     the rows of a file: JSONL or CSV, line by line
    validating  the rows become rows of the database
    kinds       what a run's rows are: how they are read, and what becomes of their results
    sampling    rows that stand for all, as the tasks that they would become
    estimating  what a run will cost
    changing    other settings, before the start or in a pause
    control     try, start, pause, resume, cancel, retry
    feeding     rows become tasks, as far as there is room
    marking     a row is open before it has its task
    submitting  tasks of rows that are marked
    results     ends of tasks become results of rows; counters
    stepping    one turn of the feeder over all runs
    progress    how far a run is, for those who watch
    export      the results as JSONL or CSV

Rows, files and counters are in PostgreSQL: any worker of any host goes on where another one died.
"""
