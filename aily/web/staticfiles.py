"""Static files with hashed names, ES module imports included."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage

_IMPORT = (
    r"""(?P<matched>(?P<names>(?:import|export)(?s:[\s{*].*?))"""
    r"""\bfrom\s*["'](?P<url>[./][^"'\n]*)["']\s*;)"""
)
_DYNAMIC_IMPORT = r"""(?P<matched>import\(["'](?P<url>[./][^"'\n]*)["']\))"""
#: What names another module, and how it is written with the hashed name.
_IMPORTS = (
    (_IMPORT, """%(names)sfrom "%(url)s";"""),
    (_DYNAMIC_IMPORT, """import("%(url)s")"""),
)
_STYLE_SHEETS = next(
    pattern for pattern in CompressedManifestStaticFilesStorage.patterns if pattern[0] == "*.css"
)


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import` statements to hashed names, so that modules may be cached for ever.

    Only in the web app's modules and in lit-html, whose files import each other: searching the
    bundles of the API's documentation takes longer than all else, and they import nothing. (Source
    maps keep their names: no page loads one.)
    """

    patterns = (_STYLE_SHEETS, ("js/*.js", _IMPORTS), ("vendor/lit-html/*.js", _IMPORTS))
    #: Each pass carries a changed hash one import further; a chain of imports may be this long.
    max_post_process_passes = 20
