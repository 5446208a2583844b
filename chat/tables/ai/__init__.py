"""AI fields: a scene that fills cells of a table, as runs of `chat/runs`.

answer_tables  the PostgreSQL table of a field's answers
config         what is asked: versions, mapping, outputs, and their digest
inputs         what is asked about: the mapped values of a row, and their digest, by PostgreSQL
states         none, queued, running, done, failed, stale, edited, rejected: computed, not kept
answers        reading answers with rows, and the provenance of one
edits          writing answers by hand
selection      the rows of a run: a snapshot, made by one statement
runs           making, estimating and controlling runs
kind           what the engine of runs asks of a table's run
results        answers of tasks become cells, or versions of cells
reverting      taking a whole run back
reviews        thumbs, notes, accepting and rejecting
comparisons    two configurations on the same sample
policies       runs that are made by themselves
"""
