"""The site's hooks change links to files of the checkout into links to pages, and generate the missing pages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import kplpy

_spec = importlib.util.spec_from_file_location("docs_site", Path(__file__).parents[3] / "scripts/docs_site.py")
assert _spec is not None
assert _spec.loader is not None
site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site)

FILES = {
    "README.md": "[order](docs/order.md) [config](kplpy/config.py)",
    "findings/README.md": "[one](one.sh)",
    "findings/one.sh": "#!/bin/sh\n",
    "docs/order.md": "",
    "docs/metrics.md": "[sample](../kplpy/metrics/sample.py) [findings](../findings/)",
    "kplpy/config.py": "x = 1\n",
    "kplpy/metrics/sample.py": "y = 2\n",
}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("page", "link", "rewritten"),
    [
        ("index.md", "docs/order.md", "order.md"),
        ("index.md", "docs/order.md#what-it-costs", "order.md#what-it-costs"),
        ("index.md", "kplpy/config.py", "source/kplpy/config.py.md"),
        ("index.md", "findings/README.md", "findings.md"),
        ("order.md", "metrics.md", "metrics.md"),
        ("order.md", "../README.md#install", "index.md#install"),
        ("order.md", "../kplpy/metrics/sample.py", "source/kplpy/metrics/sample.py.md"),
        ("order.md", "../kplpy/metrics", "source/kplpy/metrics.md"),
        ("order.md", "../findings/", "findings.md"),
        ("findings.md", "one.sh", "source/findings/one.sh.md"),
        ("findings.md", "../README.md", "index.md"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(page: str, link: str, rewritten: str) -> None:
    assert site.rewrite_links(f"See [that]({link}), ![it]({link}).", page) == (
        f"See [that]({rewritten}), ![it]({rewritten})."
    )


@pytest.mark.parametrize(
    "text",
    [
        "[gone](../kplpy/gone.py)",  # not changed, and MkDocs reports an error
        "[out](../../etc/passwd)",
        "[site](https://example.com/README.md)",
        "[here](#below)",
        "[absolute](/README.md)",
        "`[code](../README.md)`",
        "```\n[block](../README.md)\n```",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert site.rewrite_links(text, "order.md") == text


def test_code_in_a_links_words_does_not_hide_the_link() -> None:
    assert site.rewrite_links("[`a.py`](../README.md) `x`", "order.md") == "[`a.py`](index.md) `x`"


def test_pages_are_made_for_what_lies_outside_docs(checkout: Path) -> None:
    given = {name: (checkout / "docs" / name).read_text() for name in ("order.md", "metrics.md")}
    generated = site.generate_pages(given)
    assert generated["index.md"] == FILES["README.md"]
    assert sorted(page for page in generated if page.startswith("source/")) == [
        "source/findings/one.sh.md",
        "source/kplpy/config.py.md",
        "source/kplpy/metrics/sample.py.md",
    ]
    assert "`````python\nx = 1\n`````" in generated["source/kplpy/config.py.md"]
    assert "security.md" not in generated


def test_the_reference_has_every_public_name() -> None:
    page = site.reference_page("kplpy")
    for name in kplpy.__all__:
        assert (f"\n::: kplpy.{name}\n" in page) == (not name.startswith("__"))
    assert "::: kplpy.integrations.logging.KinesisHandler\n" in site.reference_page("kplpy.integrations.logging")


def test_a_page_that_the_navigation_lacks_is_added() -> None:
    nav: list[Any] = ["index.md", {"Guides": ["order.md"]}, {"Reference": ["api/kplpy.md"]}, {"Project": []}]
    site.add_unlisted(nav, ["new.md", "order.md", "index.md", "security.md", "source/kplpy/config.py.md", "api/x.md"])
    assert nav == [
        "index.md",
        {"Guides": ["order.md", "new.md"]},
        {"Reference": ["api/kplpy.md"]},  # a page of the reference must be listed by hand
        {"Project": ["security.md"]},
    ]
