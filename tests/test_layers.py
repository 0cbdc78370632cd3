"""The layers of the program: who may import whom. pyproject.toml holds the contracts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def test_every_import_contract_is_kept() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_core_needs_nothing_but_python_and_our_errors() -> None:
    ours = ("coalition.core", "coalition.errors")
    strange = {
        f"{path.name}: {name}"
        for path in (ROOT / "coalition" / "core").rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(ours)
    }
    assert strange == set()


def test_a_keeper_needs_nothing_but_python_and_its_own_modules() -> None:
    """It is started by itself, and has to be small and quick: no part of Coalition loads there."""
    paths = list((ROOT / "coalition" / "worker" / "process" / "keeper").rglob("*.py"))
    beside = {f".{path.stem}" for path in paths}
    strange = {
        f"{path.name}: {name}"
        for path in paths
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names and name not in beside
    }
    assert paths and strange == set()
