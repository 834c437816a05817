from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.report.figures import (
    DOTS_PER_INCH,
    LINE_COLOURS,
    add_legend,
    line_colour,
    panels,
    plain,
    save_png,
    shortened,
    wrapped,
)


def test_a_figure_is_written_whole_at_its_resolution_and_the_same_each_time(tmp_path):
    import matplotlib.image

    def draw(path):
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2, 3])
        save_png(figure, path)
        return path.read_bytes()

    assert draw(tmp_path / "new" / "a.png") == draw(tmp_path / "new" / "b.png")
    assert matplotlib.image.imread(tmp_path / "new" / "a.png").shape[:2] == (DOTS_PER_INCH, 2 * DOTS_PER_INCH)
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = Figure()
    figure.subplots().set_title("$\\unknown$")
    with pytest.raises(ValueError, match="unknown"):
        save_png(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["$x$", "$", "a$b$c$d", "\\$x$", "$\\unknown$", "_x^2", "%", "\\alpha"])
def test_no_name_is_read_as_a_formula(tmp_path, name):
    figure = Figure()
    text = figure.text(0, 0, plain(name))
    assert text._preprocess_math(text.get_text()) == (name, False)
    save_png(figure, tmp_path / "a.png")


def test_long_names_keep_both_ends_and_differences_both_models():
    assert shortened("a" * 40) == "a" * 40
    assert shortened(f"first{'x' * 100}last", 11) == "first…xlast"
    assert shortened(f"{'a' * 100}1 − {'b' * 100}2") == f"{'a' * 9}…{'a' * 8}1 − {'b' * 9}…{'b' * 8}2"
    assert wrapped("FLAIR+T1+T2", 9) == "FLAIR+T1+\nT2"
    assert wrapped(r"T1\+C+T2", 6) == "T1\\+C+\nT2"
    assert wrapped("+".join(["name"] * 20), 10).splitlines() == ["name+name+"] * 5 + ["…"]


def test_a_legend_shows_names_that_matplotlib_would_leave_out(tmp_path):
    figure = Figure()
    lines = [figure.subplots().plot([1, 2])[0] for _ in range(2)]
    add_legend(figure, lines, ["_hidden", plain("$a$")], loc="lower center")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_hidden", "\\$a\\$"]
    save_png(figure, tmp_path / "a.png")


def test_lines_beyond_the_palette_begin_anew():
    count = len(LINE_COLOURS)
    assert [line_colour(index) for index in range(count)] == list(LINE_COLOURS)
    assert line_colour(count) == LINE_COLOURS[0]
    assert len(set(LINE_COLOURS)) == count


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (5, (1, 5)), (7, (2, 5))])
def test_panels_fill_rows_and_what_is_left_over_is_not_drawn(count, shape):
    figure = Figure()
    used = panels(figure, count, 5)
    assert len(used) == count
    assert used[0].get_gridspec().get_geometry() == shape
    assert [axes.axison for axes in figure.axes] == [True] * count + [False] * (shape[0] * shape[1] - count)
