"""The page in a real browser, headless Chromium: its script runs, the choice works, nothing leaves the file."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from evaluation.evaluation_rows import random_rows
from evaluation.page_reports import make_report
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.conventions import METRICS
from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.page import html_report
from nnunet_missingmod.evaluation.report.section import Section, SectionTable

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")

REGION = 'a "b" <i>&+#%'
MODALITIES = ("T1+C", "<b>&'", "all")
MODELS = ("</script><script>throw 1</script>", 'x" onerror="throw 2')
# What a reader does, one thing after another; what the page then shows is kept in a list.
READER = """
const seen = [];
const form = document.getElementById("choose"), table = document.getElementById("chosen");
const shown = () => ({
  caption: table.caption.textContent,
  groups: [...table.querySelectorAll("th[scope=rowgroup]")].map((each) => each.textContent),
  lines: [...table.querySelectorAll("tr[data-line]")].map((each) => each.cells[0].textContent),
  notes: [...document.querySelectorAll("[data-note]")].filter((each) => !each.hidden).length,
  values: [...form.querySelectorAll("select")].map((each) => each.value),
  hash: location.hash,
  said: document.getElementById("said").textContent,
});
const choose = (name, value) => {
  form.elements[name].value = value;
  form.elements[name].dispatchEvent(new Event("change", { bubbles: true }));
};
const later = () => new Promise((done) => setTimeout(done, 50));
addEventListener("load", async () => {
  const entries = history.length;
  seen.push(shown());
  choose("subset", "T1\\\\+C"); await later(); seen.push(shown());
  choose("region", "all"); await later(); seen.push(shown());
  choose("metric", "all"); choose("subset", "all"); await later(); seen.push(shown());
  location.hash = "#summary"; await later(); seen.push(shown());
  location.hash = "#metric=nsd&region=nowhere&subset=1+of+3"; await later(); seen.push(shown());
  const refused = new Promise((done) => addEventListener("securitypolicyviolation", (event) => done(event.blockedURI)));
  new Image().src = "https://example.org/pixel.png";
  const images = [...document.images].map((each) => each.naturalWidth > 0);
  const requests = performance.getEntriesByType("resource").map((each) => each.name);
  const kept = document.createElement("pre");
  kept.id = "seen";
  const steps = history.length - entries;
  kept.textContent = JSON.stringify({ seen, images, requests, refused: await refused, steps });
  document.body.append(kept);
});
"""


class Elements(HTMLParser):
    """Collects the text of elements that have an id, and the headings of the lines of the table that was chosen."""

    def __init__(self, dom):
        super().__init__()
        self.by_id, self.attributes, self.opened = {}, {}, []
        self.feed(dom)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs).get("id")
        if tag not in ("meta", "img"):
            self.opened.append(named)
        if named:
            self.by_id[named], self.attributes[named] = "", dict(attrs)

    def handle_endtag(self, tag):
        self.opened.pop()

    def handle_data(self, data):
        for named in filter(None, self.opened):
            self.by_id[named] += data


def opened(page, fragment=""):
    """Open a page; return its elements once the script has run, and the lines that came to the console."""
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
            f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
            f"{page.as_uri()}{fragment}",
        ],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip
    return Elements(done.stdout), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    save_png(Figure(figsize=(1, 1)), folder / "a.png")
    rows = random_rows(models=MODELS, modalities=MODALITIES, regions=("ET", REGION))
    section = Section("power", "What would show?", REGION, (SectionTable(REGION, MODELS, (MODELS,)),), ("a.png",))
    report = make_report(
        rows,
        modalities=MODALITIES,
        pairs=[MODELS],
        metrics=METRICS.values(),
        figures=[("one", folder / "a.png"), ("two", folder / "a.png")],
        sections=[section],
        folder=folder,
    )
    (folder / "report.html").write_text(html_report(report), encoding="utf-8")
    return folder / "report.html"


def test_a_link_to_a_choice_shows_it_and_nothing_comes_to_the_console(page):
    state = {"region": REGION, "metric": "hd95_mm", "subset": "2 of 3"}
    elements, console = opened(page, "#" + urlencode(state))
    assert console == []
    assert "hidden" not in elements.attributes["choose"]
    assert elements.by_id["said"] == f"{REGION}, HD95 (mm), 2 of 3: 1 line."
    assert elements.by_id["chosen"].strip().split("\n")[0] == f"{REGION}, HD95 (mm), 2 of 3"


def test_a_reader_chooses_and_no_request_leaves_the_file(page):
    own = base64.b64encode(hashlib.sha256(READER.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8")
    text = text.replace("script-src 'sha256-", f"script-src 'sha256-{own}' 'sha256-", 1)
    read = page.with_name("read.html")
    read.write_text(text.replace("</body>", f"<script>{READER}</script></body>"), encoding="utf-8")
    elements, console = opened(read)
    found = json.loads(elements.by_id["seen"])
    first, one, regions, everything, elsewhere, unknown = found["seen"]
    assert all(found["images"])
    assert len(found["images"]) == 3
    assert found["requests"] == []
    # Only what the reader tried in vain is said on the console: that errors come there is seen by this.
    assert found["refused"] == "https://example.org/pixel.png"
    assert len(console) == 1
    assert "example.org" in console[0]

    assert first["values"] == [REGION, "dice", "all"]
    assert first["caption"] == f"{REGION}, Dice (%), every subset"
    assert len(first["lines"]) == 7 + 3 + 1
    assert (first["groups"], first["notes"], first["hash"]) == ([], 1, "")
    assert one["lines"] == ["T1\\+C"]
    assert one["said"] == f"{REGION}, Dice (%), T1\\+C: 1 line."
    assert one["hash"] == "#" + urlencode({"region": REGION, "metric": "dice", "subset": "T1\\+C"})
    assert regions["groups"] == ["ET, Dice (%)", f"{REGION}, Dice (%)"]
    assert regions["lines"] == ["T1\\+C"] * 2
    assert len(everything["groups"]) == 2 * 3
    assert len(everything["lines"]) == 2 * 3 * 11
    assert everything["notes"] == 3
    # A link to a section leaves the choice alone; choosing leaves no steps to go back through but those of links.
    assert elsewhere["lines"] == everything["lines"]
    assert found["steps"] == 2
    assert unknown["values"] == ["all", "nsd", "1 of 3"]
    assert unknown["said"].startswith('There is no region "nowhere" here. Shown: every region, NSD (%), 1 of 3')
