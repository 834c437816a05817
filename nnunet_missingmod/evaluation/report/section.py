"""A section of the report: a question that it answers, as text, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SectionTable:
    """A table of a section: a caption, the names of the columns, and rows of cells that are texts already."""

    caption: str
    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A question that the report answers: its anchor in the page, title, a sentence or two on how to read it, tables,
    and names of figure files beside the page."""

    anchor: str
    title: str
    text: str
    tables: tuple[SectionTable, ...] = ()
    figures: tuple[str, ...] = ()
