"""Static files with hashed names, ES module imports included."""

from __future__ import annotations

from typing import Any

from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import` statements to hashed names, so that modules may be cached for ever.

    Only of our own modules: to look through the bundles of the API's documentation takes longer
    than all else, and there are none in them.
    """

    support_js_module_import_aggregation = True
    _js_module_import_aggregation_patterns: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _, rewriting = self._js_module_import_aggregation_patterns
        self._js_module_import_aggregation_patterns = ("js/*.js", rewriting)
        super().__init__(*args, **kwargs)
