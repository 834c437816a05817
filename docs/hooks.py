"""What mkdocs does beyond docs/: the repository's other documents, links that lead out of the site, modules, formulas.

Documents are written to be read in the repository, where a link is a path from the file that holds it. On the site a
link to another document leads to its page, one to any other file to the repository (``repo_url``); where that is not
known, such a link is plain text. A link that leads nowhere ends ``mkdocs build --strict``. In docs/reference,
``::: PACKAGE`` stands for a section for each of the package's modules.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Documents outside of docs/, and the pages that they become.
PAGES = {
    "README.md": "index.md",
    "plans/README.md": "plans.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
DOCUMENTS = {page: document for document, page in PAGES.items()}

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[ \t]*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(`+)(?:.*?)\1|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)", re.DOTALL)
_COMMENT = re.compile(r"^ *<!--.*?-->\n", re.DOTALL | re.MULTILINE)
_LIST_UNDER_TEXT = re.compile(r"^(?![\s|#>]|[-*] |\d+\. )(.+)\n(?=(?:-|\d+\.) )", re.MULTILINE)

_PACKAGE = re.compile(r"^::: (nnunet_missingmod\.\w+)$", re.MULTILINE)

_KATEX = "https://cdn.jsdelivr.net/npm/katex@0.19.1/dist"
_FORMULAS = f"""\
<link rel="stylesheet" href="{_KATEX}/katex.min.css" crossorigin="anonymous"
 integrity="sha384-WwGtaC6ywCHxA5cstpj/3+xIZvTez8dq2IcBQaXRkenHZ7FVVq1ZROtURwfbtTlG">
<script defer src="{_KATEX}/katex.min.js" crossorigin="anonymous"
 integrity="sha384-a1WQdjRj162i159OYq041X6I4K8NenkrI09LlPmiHg0YOb7CR+wJOraXwK9abpnE"></script>
<script>
window.addEventListener("load", () => document.querySelectorAll(".arithmatex").forEach((formula) =>
  katex.render(formula.textContent.trim().slice(2, -2), formula, {{displayMode: formula.tagName === "DIV"}})));
</script>
"""

log = logging.getLogger("mkdocs.hooks.documents")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents outside of docs/."""
    for document, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links of the site."""
    here = page.file.src_uri
    document = DOCUMENTS.get(here, f"docs/{here}")

    def target_of(path: str) -> str | None:
        """The site's link for a path of the repository; None for a file that is neither on the site nor online."""
        name, _, anchor = path.partition("#")
        found = posixpath.normpath(posixpath.join(posixpath.dirname(document), name))
        on_site = PAGES.get(found, found.removeprefix("docs/") if found.startswith("docs/") else None)
        if on_site and files.get_file_from_path(on_site):
            link = posixpath.relpath(on_site, posixpath.dirname(here) or ".")
            return f"{link}#{anchor}" if anchor else link
        if not (ROOT / found).exists():
            log.warning("%s links to %s, which is not there.", document, path)
        if not config.repo_url:
            return None
        kind = "tree" if (ROOT / found).is_dir() else "blob"
        return f"{config.repo_url.rstrip('/')}/{kind}/main/{found}"

    def relink(link: re.Match[str]) -> str:
        code, picture, text, path = link.groups()
        if code or "://" in path or path.startswith(("#", "mailto:")):
            return link[0]
        target = target_of(path)
        return text if target is None else f"{picture}[{text}]({target})"

    # GitHub's Markdown starts a list right under a line of text, and two or three spaces keep what follows in its item;
    # Python-Markdown wants a blank line and four spaces.
    def outside_fences(text: str) -> str:
        spaced = _LIST_UNDER_TEXT.sub(r"\1\n\n", _COMMENT.sub("", text))
        return _LINK.sub(relink, re.sub(r"(?<=\n\n) {2,3}(?=\S)", "    ", spaced))

    def in_its_item(fence: re.Match[str]) -> str:
        return re.sub("^" + fence[1], "    ", fence[0], flags=re.MULTILINE) if len(fence[1]) in (2, 3) else fence[0]

    markdown = _PACKAGE.sub(_modules, markdown)
    done, position = [], 0
    for fence in _FENCE.finditer(markdown):
        done += [outside_fences(markdown[position : fence.start()]), in_its_item(fence)]
        position = fence.end()
    return "".join([*done, outside_fences(markdown[position:])])


def _modules(line: re.Match[str]) -> str:
    package = ROOT.joinpath(*line[1].split("."))
    if not package.is_dir():
        return line[0]
    sections = []
    for file in sorted(package.rglob("[a-z]*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        sections.append(f"## {module.removeprefix(f'{line[1]}.')}\n\n::: {module}\n    options: {{heading_level: 3}}\n")
    return "\n".join(sections)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Let pages that hold formulas, and no others, fetch what draws them."""
    return output.replace("</head>", f"{_FORMULAS}</head>", 1) if 'class="arithmatex"' in output else output
