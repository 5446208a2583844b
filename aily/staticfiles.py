"""Static files with hashed names, ES module imports included."""

from __future__ import annotations

from django.contrib.staticfiles.storage import HashedFilesMixin
from servestatic.storage import CompressedManifestStaticFilesStorage

_, _REWRITING = HashedFilesMixin._js_module_import_aggregation_patterns  # noqa: SLF001


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import` statements to hashed names, so that modules may be cached for ever.

    Only of our own modules: to look through the bundles of the API's documentation takes longer
    than all else, and there are none in them.
    """

    support_js_module_import_aggregation = True
    _js_module_import_aggregation_patterns = ("js/*.js", _REWRITING)
