"""`python -m aily.launcher`, which `make run` runs."""

from __future__ import annotations

import os
import signal
import sys

from aily.embedded.service import EmbeddedServiceError
from aily.launcher.errors import StartupError
from aily.launcher.launch import launch
from aily.launcher.programs import ConfigurationError
from aily.launcher.progress import Progress
from aily.launcher.stop_request import StopRequest, StopRequested
from aily.process.lifetimes import die_with_parent


def main() -> int:
    """Run the launcher; returns the exit code: 0 after a signal, 1 when something failed."""
    progress = Progress()
    if "MAKELEVEL" in os.environ:
        # If `make` is killed, so is the launcher.
        die_with_parent(signal.SIGTERM)
    try:
        launch(StopRequest(), progress)
    except StopRequested:
        return 0
    except (StartupError, ConfigurationError, EmbeddedServiceError) as error:
        progress.warn(f"aily: {error}")
        if isinstance(error, StartupError) and error.log_file is not None:
            progress.show_log(error.log_file)
    return 1


if __name__ == "__main__":
    sys.exit(main())
