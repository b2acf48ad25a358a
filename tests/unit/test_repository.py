"""What must hold for the repository itself?"""

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

MACHINE_PATH = re.compile(r"(?<![\w.$@*-])/(?:root|home/\w+|work|Users/\w+)/")
REGISTRY_HOST = re.compile(
    r"--(?:extra-)?index-url|--find-links|https?://(?:[\w-]+\.)*"
    r"(?:pypi\.org|pythonhosted\.org|proxy\.golang\.org|registry\.npmjs\.org)"
)
NUMBERED = re.compile(r"^(\d{4})-[a-z0-9-]+\.md$")


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text()))
        except UnicodeDecodeError:
            continue  # a binary file holds no path that anybody reads
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def offending(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts()
        if name != "tests/unit/test_repository.py"
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_operator_is_a_source_root_and_never_a_package() -> None:
    """With an `__init__.py`, `import collections` would fail from the repository root."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_python_versions_agree() -> None:
    """A checker that assumes a newer Python lets through what the oldest one cannot run."""
    configuration = project()
    oldest = configuration["project"]["requires-python"].removeprefix(">=")

    assert oldest == configuration["tool"]["mypy"]["python_version"]
    assert oldest == configuration["tool"]["pyright"]["pythonVersion"]


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    """What works on one machine only is found by the next person."""
    assert [] == offending(MACHINE_PATH)


def test_no_tracked_file_names_a_registry_host() -> None:
    """Where packages come from is the user's setting; a bank has a mirror."""
    assert [] == offending(REGISTRY_HOST)


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda p: p.name
)
def test_every_locked_package_is_pinned_with_hashes(lock: Path) -> None:
    """A line without a hash would be installed whatever it holds."""
    logical = [line for line in lock.read_text().replace("\\\n", " ").splitlines() if line.strip()]
    requirements = [line for line in logical if not line.lstrip().startswith("#")]

    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9][a-z0-9.-]*==[^ ]+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_runtime_dependencies_are_locked_to_one_version() -> None:
    """The image and the tests must run the same code."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9.-]+==[^ ]+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements/runtime.lock") <= pins("requirements/dev.lock")


def test_every_declared_dependency_is_locked() -> None:
    """A dependency added without `make lock` is missing on the next machine."""
    locked = re.findall(
        r"^([a-z0-9.-]+)==", (ROOT / "requirements" / "dev.lock").read_text(), re.MULTILINE
    )
    declared = project()["project"]["dependencies"] + project()["dependency-groups"]["dev"]
    names = {re.split(r"[\[>=<~! ]", entry)[0].lower().replace("_", "-") for entry in declared}

    assert set() == names - set(locked)


def test_every_make_target_says_what_it_does() -> None:
    """`make help` is the first thing that a newcomer runs."""
    makefile = (ROOT / "Makefile").read_text()
    declared = re.findall(r"^([a-z][a-z-]*):(?!=)(.*)$", makefile, re.MULTILINE)
    phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())

    assert [] == [name for name, rest in declared if "## " not in rest]
    assert {name for name, _ in declared} == phony


def test_every_decision_is_in_the_index() -> None:
    """A decision that the index leaves out is taken a second time."""
    folder = ROOT / "docs" / "adr"
    index = (folder / "index.md").read_text()
    names = sorted(path.name for path in folder.iterdir() if NUMBERED.match(path.name))

    assert names == sorted(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index))
    for name in names:
        assert f"# {name[:4]}: " in (folder / name).read_text()


def test_every_relative_link_of_the_documents_leads_somewhere() -> None:
    """A broken link costs a reader more than a missing one."""
    broken = [
        f"{name}: {target}"
        for name, text in texts()
        if name.endswith(".md")
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
        if not (ROOT / name).parent.joinpath(target).exists()
    ]

    assert [] == broken


@pytest.mark.parametrize("folder", ["tests", "e2e", "operator"])
def test_no_module_patches_another(folder: str) -> None:
    """A patch tests which call was made and not what came of it."""
    patching = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and node.module in {"unittest.mock", "mock"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "unittest"
            and any(alias.name == "mock" for alias in node.names)
        )
        or (isinstance(node, ast.Import) and any(a.name == "unittest.mock" for a in node.names))
    ]

    assert [] == patching
