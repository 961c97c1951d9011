"""The site's pages that lie outside of docs/, and links that lead out of it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
APART: Final = re.compile(r"(?<=[\d%]) (/|to|±) (?=[\d.+-])")  # of figures that stay on one line
LINK: Final = re.compile(r"\[([^]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them, of files that it has not only the words; figures kept whole."""
    outside = {page: source for source, page in PAGES.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(outside.get(here, f"docs/{here}"))

    def replaced(link: re.Match[str]) -> str:
        words, path, anchor = link[1], link[2], link[3] or ""
        target = posixpath.normpath(posixpath.join(folder, path))
        found = PAGES.get(target) or target.removeprefix("docs/")
        if files.get_file_from_path(found) is None:
            return words
        return f"[{words}]({posixpath.relpath(found, posixpath.dirname(here) or '.')}{anchor})"

    lines = LINK.sub(replaced, markdown).split("\n")
    return "\n".join(
        APART.sub("\u00a0\\1\u00a0", line) if line.startswith("|") else line for line in lines
    )
