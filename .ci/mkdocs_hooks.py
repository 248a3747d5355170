"""What the site of the documentation has beside docs/: the changelog, which lies at the top."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHANGELOG = "CHANGELOG.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the changelog as a page."""
    top = Path(config.config_file_path).parent
    files.append(File.generated(config, CHANGELOG, content=(top / CHANGELOG).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to the changelog to its page, and links in it into docs/ to theirs."""
    if page.file.src_uri == CHANGELOG:
        return markdown.replace("](docs/", "](")
    return markdown.replace(f"../{CHANGELOG}", CHANGELOG)
