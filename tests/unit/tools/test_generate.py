from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """The script as a module; its siblings are importable as they are when it runs."""
    sys.path.insert(0, str(TOOLS))
    try:
        spec = importlib.util.spec_from_file_location("generate", TOOLS / "generate.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture
def written(generate: ModuleType, tmp_path: Path) -> Path:
    """A folder with every generated file."""
    assert 0 == generate.main([], tmp_path)
    return tmp_path


def test_what_is_committed_is_what_its_source_makes(generate: ModuleType) -> None:
    """A generated file was changed by hand, or its source without it. Run: make generate"""
    assert [] == list(generate.differences(generate.render(), generate.ROOT))


def test_a_second_run_writes_nothing(
    generate: ModuleType, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Generating is not reproducible."""
    capsys.readouterr()
    generate.main([], written)

    assert "" == capsys.readouterr().out
    assert 0 == generate.main(["--check"], written)


def test_a_changed_file_is_found_and_not_repaired(
    generate: ModuleType, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check changes files, or sees nothing."""
    changed = written / "crds" / "demarc.dev_sites.yaml"
    changed.write_text(changed.read_text().replace("dsite", "dst"))
    capsys.readouterr()

    assert 1 == generate.main(["--check"], written)
    output = capsys.readouterr()
    assert "-    - dst\n+    - dsite\n" in output.out
    assert "run: make generate\n" == output.err
    assert "dst" in changed.read_text()


def test_a_missing_file_is_found(generate: ModuleType, written: Path) -> None:
    """A file that was never committed passes."""
    (written / "docs" / "reference" / "api.md").unlink()

    assert 1 == generate.main(["--check"], written)


def test_a_file_that_no_source_makes_is_found_and_removed(
    generate: ModuleType, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kind that is gone stays in the cluster's CRDs."""
    stray = written / "crds" / "demarc.dev_old.yaml"
    stray.write_text("")
    capsys.readouterr()

    assert 1 == generate.main(["--check"], written)
    assert "crds/demarc.dev_old.yaml: no source makes this file\n" == capsys.readouterr().out
    generate.main([], written)
    assert not stray.exists()
