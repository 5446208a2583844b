"""Static files with hashed names, ES module imports included."""

from __future__ import annotations

from typing import Any

from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import` statements to hashed names, so that modules may be cached for ever.

    Only in the web app's modules and in lit-html, whose files import each other: searching the
    bundles of the API's documentation takes longer than all else, and they import nothing.
    """

    support_js_module_import_aggregation = True
    #: Each pass carries a changed hash one import further; a chain of imports may be this long.
    max_post_process_passes = 20
    _js_module_import_aggregation_patterns: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _, rewriting = self._js_module_import_aggregation_patterns
        self._js_module_import_aggregation_patterns = ("js/*.js", rewriting)
        self.patterns = (*self.patterns, ("vendor/lit-html/*.js", rewriting))
        super().__init__(*args, **kwargs)
