"""Exit codes that supervisors know."""

from __future__ import annotations

#: Of a worker that an operator has drained: it is not started again (supervisord's `exitcodes`,
#: systemd's RestartPreventExitStatus in deploy/systemd/aily-worker@.service).
DRAINED_EXIT_CODE = 88
