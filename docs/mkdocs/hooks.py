"""What MkDocs is told beyond mkdocs.yml.

The pages are written for the repository. Here they become a site:

- The navigation is taken from the tables of docs/README.md.
- Pages outside docs/, such as the README and the changelog, are pages of the site too.
- Links to code lead to pages with that code.
- Mermaid diagrams are drawn now, and not by a script in the reader's browser.
"""

from __future__ import annotations

import posixpath
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

from diagrams import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]

#: Pages that lie outside docs/, or under another name than theirs, and where they are on the site.
ELSEWHERE: Final = {
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "report.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
}
ORIGIN: Final = {there: here for here, there in ELSEWHERE.items()}

FENCE: Final = re.compile(r"^(`{3,}).*?^\1$", re.DOTALL | re.MULTILINE)
#: A link, a definition of one, and what HTML shows; each as what stands before its target, the target, and after it.
LINKS: Final = (
    re.compile(r"(\[(?P<text>[^\]]*)\]\()(?P<target>[^)\s]+)(\))"),
    re.compile(r"^(\[[^\]]+\]: )(?P<target>\S+)()$", re.MULTILINE),
    re.compile(r"(\b(?:src|srcset)=\")(?P<target>[^\"]+)(\")"),
)
LANGUAGES: Final = {".py": "python", ".toml": "toml", ".yml": "yaml", ".sh": "sh", ".ipynb": "json"}


# --- Navigation -------------------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> None:
    """Takes the navigation from the tables of docs/README.md, and draws what is Mermaid."""
    nav: list[dict[str, object]] = [{"Home": "index.md"}, {"Find your page": "pages.md"}]
    for section in re.split(r"^## ", (ROOT / "docs/README.md").read_text(), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \|", section, re.MULTILINE)
        pages = [{title: _site_path(posixpath.normpath(f"docs/{target}"))} for title, target in rows]
        nav.append({section.partition("\n")[0]: pages})
    config.nav = nav
    fence = {"name": "mermaid", "class": "mermaid", "format": drawn}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}


# --- Pages ------------------------------------------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/, and one for each file of code that a page links to."""
    for here, there in ELSEWHERE.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / here)))
    pages = [*ELSEWHERE, *(f"docs/{it.src_uri}" for it in files.documentation_pages() if it.src_uri not in ORIGIN)]
    linked = {path for page in pages for path in _targets(page)}
    for path in sorted(linked):
        if _is_code(path):
            files.append(File.generated(config, _site_path(path), content=_code_page(path)))
    return files


def _targets(page: str) -> Iterator[str]:
    """What the links of a page lead to, as paths of the repository."""
    for text in _outside_of_fences((ROOT / page).read_text()):
        for pattern in LINKS:
            for match in pattern.finditer(text):
                target = match["target"].partition("#")[0]
                if target and not re.match(r"\w+:", target):
                    yield posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _is_code(path: str) -> bool:
    return path not in ELSEWHERE and not path.startswith("docs/")


def _code_page(path: str) -> str:
    """A page with a file as it is. Nobody looks for it by words."""
    language = LANGUAGES.get(Path(path).suffix, "text")
    text = (ROOT / path).read_text()
    return f'---\nsearch:\n  exclude: true\n---\n# {path}\n\n``````{language} linenums="1"\n{text}``````\n'


def _site_path(path: str) -> str:
    """Where a file of the repository is on the site, as the source of a page."""
    if _is_code(path):
        return f"code/{path}.md"
    return ELSEWHERE.get(path, path.removeprefix("docs/"))


# --- Links ------------------------------------------------------------------------------------------------------------


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Has links lead to where their targets are on the site."""
    here = page.file.src_uri
    if here.startswith("code/"):
        return markdown
    origin = ORIGIN.get(here, f"docs/{here}")
    for pattern in LINKS:
        markdown = _everywhere_but_in_fences(markdown, partial(pattern.sub, _led(origin, here)))
    return markdown


def _led(origin: str, here: str) -> Callable[[re.Match[str]], str]:
    def lead(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match["target"].partition("#")
        if not target or re.match(r"\w+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        if _is_code(path) and not anchor:
            hash_sign, anchor = _line_of(path, match.groupdict().get("text") or "")
        there = posixpath.relpath(_site_path(path), posixpath.dirname(here) or ".")
        return f"{match[1]}{there}{hash_sign}{anchor}{match[match.re.groups]}"

    return lead


def _line_of(path: str, name: str) -> tuple[str, str]:
    """The anchor of the line that defines a name, where there is one."""
    for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
        if name.isidentifier() and re.match(rf"(async def|def|class) {name}\b", line):
            return "#", f"__codelineno-0-{number}"
    return "", ""


def _outside_of_fences(markdown: str) -> Iterator[str]:
    end = 0
    for fence in FENCE.finditer(markdown):
        yield markdown[end : fence.start()]
        end = fence.end()
    yield markdown[end:]


def _everywhere_but_in_fences(markdown: str, change: Callable[[str], str]) -> str:
    fences = [fence[0] for fence in FENCE.finditer(markdown)]
    texts = map(change, _outside_of_fences(markdown))
    return "".join(text + fence for text, fence in zip(texts, [*fences, ""], strict=True))


# --- What a page has become -------------------------------------------------------------------------------------------

PICTURE: Final = re.compile(
    r"<picture>\s*<source[^>]*prefers-color-scheme: dark[^>]*srcset=\"([^\"]+)\">\s*"
    r"<img src=\"([^\"]+)\"([^>]*)>\s*</picture>"
)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Shows the dark form of a picture where the page is dark, and has links to lines of code checked.

    In a table a pipe within code is escaped, which Python-Markdown leaves as it is.
    """
    html = re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace("\\|", "|"), html)
    page.present_anchor_ids = (page.present_anchor_ids or set()) | {*re.findall(r'id="(__codelineno-[\d-]+)"', html)}
    return PICTURE.sub(r'<img class="light-only" src="\2"\3><img class="dark-only" src="\1"\3>', html)
