"""All settings, a module a subject, read from the environment once, at import.

Every variable is described in deploy/README.md. Nothing here touches the network: settings can be
imported while no service runs.
"""

from __future__ import annotations

import os

from aily.environment import refuse_mistyped_names
from aily.environment.launcher import LauncherVariables
from aily.settings.accounts import *
from aily.settings.apps import *
from aily.settings.core import *
from aily.settings.cors import *
from aily.settings.database import *
from aily.settings.deliveries import *
from aily.settings.environment import BASE_DIR as BASE_DIR
from aily.settings.environment import DATA_DIR as DATA_DIR
from aily.settings.environment import env
from aily.settings.limits import *
from aily.settings.observability import *
from aily.settings.oidc import *
from aily.settings.providers import *
from aily.settings.queue import *
from aily.settings.redis import *
from aily.settings.runs import *
from aily.settings.security import *
from aily.settings.tables import *
from aily.settings.web import *

LauncherVariables.read(env)
refuse_mistyped_names(os.environ, env.names, env.items("AILY_IGNORED_VARIABLES"))
