"""Hashed names of static files: a module's imports must lead to files that are there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from django.conf import settings

from aily.web.staticfiles import HashedStaticFilesStorage

HASHED = re.compile(r"\.[0-9a-f]{12}\.js$")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
IMPORT = re.compile(r"""(?:\bfrom|^import|\bimport\()\s*["']([./][^"']+)["']""", re.MULTILINE)


def _collect(root: Path, files: dict[str, str]) -> dict[str, str]:
    """Each file's hashed name, by its own."""
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)
    return _process(root)


def _process(root: Path) -> dict[str, str]:
    storage = HashedStaticFilesStorage(location=root, base_url="/static/")
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    results = list(storage.post_process({name: (storage, name) for name in names}))
    assert [error for _, _, error in results if isinstance(error, Exception)] == []
    return dict(storage.hashed_files)


def test_every_import_of_the_web_app_leads_to_a_hashed_file(tmp_path: Path) -> None:
    for part in ("js", "vendor"):
        shutil.copytree(settings.BASE_DIR / "static" / part, tmp_path / part)
    hashed = _process(tmp_path)
    modules = [tmp_path / name for name in hashed.values() if name.startswith("js/")]
    count = 0
    for module in modules:
        if module.suffix != ".js":
            continue
        for path in IMPORT.findall(COMMENT.sub("", module.read_text())):
            assert HASHED.search(path), f"{module.name}: {path}"
            assert (module.parent / path).resolve().is_file(), f"{module.name}: {path}"
            count += 1
    assert count > 60


def test_a_change_at_the_end_of_a_chain_of_imports_renames_all_of_it(tmp_path: Path) -> None:
    length = 15
    files = {f"js/m{n}.js": f'export * from "./m{n + 1}.js";\n' for n in range(length)}
    last = f"js/m{length}.js"
    before = _collect(tmp_path / "before", {**files, last: "export const a = 1;\n"})
    after = _collect(tmp_path / "after", {**files, last: "export const a = 2;\n"})
    assert before.keys() == after.keys() == {*files, last}
    for name in before:
        assert before[name] != after[name]


def test_imports_of_all_forms_are_rewritten(tmp_path: Path) -> None:
    source = (
        'import a, { b } from "./other.js";\n'
        "import * as c from './other.js';\n"
        'export {\n  d,\n} from "./other.js";\n'
        'const load = () => import("./other.js");\n'
    )
    hashed = _collect(tmp_path, {"js/one.js": source, "js/other.js": "export const d = 1;\n"})
    text = (tmp_path / hashed["js/one.js"]).read_text()
    other = Path(hashed["js/other.js"]).name
    assert text.count(f'"./{other}"') == 4
    assert "other.js" not in text
