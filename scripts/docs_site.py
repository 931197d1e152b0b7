"""Hooks of MkDocs (mkdocs.yml) that add pages from outside docs/: README.md and others, API pages, source files.

Links in pages are written so that they work in the checkout. These hooks change each link to the site's page for its
file. README.md is the site's first page. A linked source file becomes a page with its text.
"""

from __future__ import annotations

import posixpath
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # kplpy is not installed in the environment that builds the site

# Files of the checkout that are pages of the site under another name.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "findings/README.md": "findings.md",
    "examples/README.md": "examples.md",
    "decoders/README.md": "decoders.md",
    "decoders/vectors/README.md": "vectors.md",
}
_ORIGINS = {page: path for path, page in PAGES.items()}
# Modules with a page in the API reference. The page lists all names of the module's __all__.
REFERENCE = (
    "kplpy",
    "kplpy.reading",
    "kplpy.serializers",
    "kplpy.dead_letters",
    "kplpy.integrations.logging",
    "kplpy.integrations.aws_lambda",
    "kplpy.local",
    "kplpy.doctor",
)

# A fenced block, a code span, or the target of an inline link or image. Only a target is in a group.
_LINK = re.compile(r"^```.*?^```|`[^`\n]+`|(?<=\]\()([^)\s]+)(?=[)\s])", re.MULTILINE | re.DOTALL)
_OUTSIDE = re.compile(r"[a-z]+:|[/#]")  # the start of a URL, an absolute path, or an anchor of the same page
_LANGUAGES = {
    ".go": "go",
    ".java": "java",
    ".json": "json",
    ".mjs": "js",
    ".mts": "ts",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".yml": "yaml",
}
_UNLISTED = {"source", "api"}  # folders of generated pages; mkdocs.yml lists the pages of the reference


def target_of(link: str, page: str) -> str | None:
    """Return the file or folder of the checkout that a link in a page leads to, or None."""
    if _OUTSIDE.match(link):
        return None
    folder = posixpath.dirname(_ORIGINS.get(page, f"docs/{page}"))
    path = posixpath.normpath(posixpath.join(folder, link.partition("#")[0]))
    if not (ROOT / path).exists() or path.startswith(".."):
        return None
    return f"{path}/README.md" if f"{path}/README.md" in PAGES and (ROOT / path / "README.md").exists() else path


def page_of(path: str) -> str:
    """Return the page that the site has for a file or folder of the checkout."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"


def rewrite_links(text: str, page: str) -> str:
    """Return the page's text with links to files of the checkout changed to their pages. Code is not changed."""

    def rewritten(found: re.Match[str]) -> str:
        link = found[1]
        path = target_of(link, page) if link else None
        if path is None:
            return found[0]  # MkDocs reports a link that leads nowhere
        anchor = link.partition("#")[1:]
        return posixpath.relpath(page_of(path), posixpath.dirname(page)) + "".join(anchor)

    return _LINK.sub(rewritten, text)


def source_page(path: str) -> str:
    """Return the text of the page for a source file, or for a folder, whose page lists its files."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if (ROOT / path).is_dir():
        names = sorted(each.name for each in (ROOT / path).iterdir() if each.is_file())
        return head + "\n".join(f"- {name}" for name in names) + "\n"
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"{head}`````{_LANGUAGES.get(Path(path).suffix, 'text')}\n{text}`````\n"


def reference_page(name: str) -> str:
    """Return the text of a module's page in the API reference. mkdocstrings adds the docstrings."""
    module = import_module(name)
    public = [each for each in module.__all__ if not each.startswith("__")]
    about = (module.__doc__ or "").strip()
    return f"# {name}\n\n{about}\n\n" + "".join(f"::: {name}.{each}\n\n" for each in public)


def generate_pages(pages: dict[str, str]) -> dict[str, str]:
    """Return the generated pages by name. `pages` are the pages of docs/."""
    generated = {
        page: (ROOT / path).read_text(encoding="utf-8") for path, page in PAGES.items() if (ROOT / path).exists()
    }
    sources = set()
    for page, text in (pages | generated).items():
        links = [found[1] for found in _LINK.finditer(text) if found[1]]
        paths = {target_of(link, page) for link in links} - {None}
        sources |= {path for path in paths if path and page_of(path).startswith("source/")}
    generated |= {page_of(path): source_page(path) for path in sorted(sources)}
    return generated | {f"api/{name.rpartition('.')[2]}.md": reference_page(name) for name in REFERENCE}


def add_unlisted(nav: list[Any], pages: list[str]) -> None:
    """Append pages that `nav` does not list to its section Guides, or Project for files from outside docs/."""
    sections = {name: items for section in nav if isinstance(section, dict) for name, items in section.items()}
    listed = {item for items in sections.values() for item in items} | {each for each in nav if isinstance(each, str)}
    for page in sorted(set(pages) - listed):
        if page.partition("/")[0] not in _UNLISTED:
            sections["Project" if page in _ORIGINS else "Guides"].append(page)


# --- called by MkDocs ---


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages before the navigation is built."""
    from mkdocs.structure.files import File, InclusionLevel

    given = {file.src_uri: file.content_string for file in files.documentation_pages()}
    generated = generate_pages(given)
    for page, text in generated.items():
        listed = InclusionLevel.NOT_IN_NAV if page.startswith("source/") else InclusionLevel.UNDEFINED
        files.append(File.generated(config, page, content=text, inclusion=listed))
    add_unlisted(config.nav or [], [*given, *generated])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of each page."""
    return rewrite_links(markdown, page.file.src_uri)
