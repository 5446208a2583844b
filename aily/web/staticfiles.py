"""Static files with hashed names, including those in ES modules' imports."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage

#: What names another module, and how it is written with the hashed name: `import a from "./b.js";`,
#: `export {a} from "./b.js";`, `import "./b.js";`, `import("./b.js")`.
_MODULE_NAMES = (
    (
        (
            r"""(?P<matched>import(?s:(?P<names>[\s\{].*?|\*\s*as\s*\w+))"""
            r"""\s*from\s*['"](?P<url>[./].*?)["']\s*;)"""
        ),
        """import%(names)s from "%(url)s";""",
    ),
    (
        r"""(?P<matched>export(?s:(?P<names>[\s\{].*?))\s*from\s*["'](?P<url>[./].*?)["']\s*;)""",
        """export%(names)s from "%(url)s";""",
    ),
    (r"""(?P<matched>import\s*['"](?P<url>[./].*?)["']\s*;)""", """import"%(url)s";"""),
    (r"""(?P<matched>import\(["'](?P<url>.*?)["']\))""", """import("%(url)s")"""),
)


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites modules' names to hashed names, so that modules can be cached for ever.

    Django's `support_js_module_import_aggregation` does so in all files: searching the bundles of
    the API's documentation, which have no imports, takes longer than all else.
    """

    patterns = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", _MODULE_NAMES))
