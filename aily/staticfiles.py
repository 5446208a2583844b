"""Static files with hashed names, ES module imports included."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import` statements to hashed names, so that modules may be cached for ever."""

    support_js_module_import_aggregation = True
