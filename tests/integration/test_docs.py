"""The programs of README.md and docs/ run as they stand, and print what the page shows below them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from tests.local_stream import PATIENCE

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md"))]
WITHOUT_PROGRAM = {
    "docs/agent-running.md",  # its commands need root, systemd, Docker or Kubernetes
    "docs/bench-figures.md",  # written by the benchmarks, which are programs that take minutes
    "docs/benchmarks.md",
    "docs/design.md",  # for people who read kplpy's code
}
PROGRAM = re.compile(r"^```(python|sh)\n(.*?)^```\n+(?:([^\n]*prints[^\n]*):\n+```text\n(.*?)^```$)?", re.M | re.S)


def programs(page: str) -> list[tuple[str, str, str, str]]:
    """Return the page's (language, program, sentence, output) that show what they print.

    The sentence between them may name a command that comes first: "prints, after `...`".
    """
    found = PROGRAM.findall((ROOT / page).read_text(encoding="utf-8"))
    return [program for program in found if program[3]]


SHOWN = [
    pytest.param(*program, id=f"{page}-{number}") for page in PAGES for number, program in enumerate(programs(page), 1)
]


@pytest.mark.parametrize(("language", "program", "sentence", "output"), SHOWN)
def test_the_program_prints_what_the_page_says(
    language: str, program: str, sentence: str, output: str, tmp_path: Path
) -> None:
    """With the streams and the environment that README.md names."""
    with LocalKinesis(streams={"orders": 2, "logs": 2, "orders-failed": 1}) as kinesis:
        settings = environment(
            tmp_path,
            AWS_ENDPOINT_URL_KINESIS=kinesis.endpoint_url,
            AWS_DEFAULT_REGION=kinesis.region_name,
            AWS_ACCESS_KEY_ID="local",
            AWS_SECRET_ACCESS_KEY="local",
        )
        if first := re.search(r"after `(.*)`", sentence):
            subprocess.run(["sh", "-c", first[1]], cwd=tmp_path, env=settings, timeout=PATIENCE, check=True)
        command = [sys.executable, "-c", program] if language == "python" else ["sh", "-c", program]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=settings, timeout=PATIENCE, check=False
        )
    assert (done.stdout, done.returncode) == (output, 0), done.stderr


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"PYTHONWARNINGS": "ignore", "AWS_EC2_METADATA_DISABLED": "true"}
    return {**kept, **quiet, "HOME": str(home), "PATH": path, **more}


def pages_tests() -> list[Any]:
    found = []
    for page in PAGES:
        for code in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S):
            if re.search(r"^def test_", code, re.M):
                found.append(pytest.param(code, id=page))
    return found


@pytest.mark.parametrize("code", pages_tests())
def test_the_pages_own_tests_pass(code: str, tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [each for each in PAGES if each not in WITHOUT_PROGRAM])
def test_the_page_opens_with_a_program_and_its_output(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    first = PROGRAM.search(text)
    assert first is not None, "no program"
    assert first[4], "the first program is not followed by a line that says 'prints' and what it prints"
    assert text[: first.start()].count("\n") <= 12, "the program is not at the beginning"


def anchors(text: str) -> set[str]:
    """Return the headings as GitHub and mkdocs name them in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if "://" not in link:
            target = (ROOT / page).parent / name if name else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_links_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page for page in PAGES[1:] if f"]({page})" not in text and page != "docs/bench-figures.md"] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles(page: str) -> None:
    """What can be pasted has no top-level `async with`, and no ... in place of a dict's items."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S), 1):
        compile(code, f"{page}, Python block {number}", "exec")
