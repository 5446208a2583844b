"""Sentences about runs."""

from __future__ import annotations

from collections.abc import Mapping

from chat.reasons.marking import gettext_noop as _

SENTENCES: Mapping[str, str] = {
    # Why a run is in its state.
    "owner_disabled": _("Its owner has been disabled."),
    "rows_failed": _("The last %(count)s rows failed, none succeeded meanwhile."),
    "cost_spent": _("%(cost)s are spent."),
    "no_valid_line": _("No line of the file is valid."),
    "wrong_lines": _("%(count)s lines of the file are wrong."),
    # What cannot be done with a run.
    "run_changed": _("This run was changed meanwhile."),
    "run_worked_on": _("This run is being worked on; try again."),
    "run_state": _("This cannot be done in the state that the run is in."),
    "pause_run": _("Pause the run first."),
    "cancel_run": _("Cancel the run first."),
    "run_validating": _("This run is still being validated."),
    "run_spent": _("%(cost)s are spent already: raise max_cost first."),
    "run_deadline": _("Its deadline has passed: set another first."),
    "no_failed_row": _("No row of this run has failed."),
    "no_sendable_row": _("This run has no rows that could be sent."),
    "no_scene": _("Name the scene that the rows are for."),
    "end_run": _("Pause or cancel the run first."),
    "no_such_run": _("There is no such run."),
    "too_many_run_rows": _("A run has at most %(limit)s rows: choose fewer."),
    "start_time": _("Give a time with `at`, and with nothing else."),
    "too_many_mapped": _("At most %(limit)s variables are mapped."),
    "column_or_constant": _('This is the name of a column, or {"value": a constant}.'),
    "no_run_option": _("This is no option of a run's requests."),
    "not_in_run_row": _("A row of a run cannot have this."),
    "whole_requests": _("The rows of this run are whole requests."),
    "unknown_format": _("The file's name ends in neither .csv nor .jsonl: say which it is."),
}
