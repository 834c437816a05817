"""The Dockerfile, the page that shows it and the job that tries it say the same; no engine is needed, none is tried."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from shown_commands import OURS, ROOT, read_by_parser

from nnunet_missingmod import cli

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "howto_clinic.md").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
JOB = "\n".join(step["run"] for step in WORKFLOW["jobs"]["container"]["steps"] if "run" in step)
TEXTS = {"Dockerfile": re.sub(r"^#", "", DOCKERFILE, flags=re.MULTILINE), "page": PAGE, "job": JOB}
# What a hospital's machine may ask of a container.
LOCKED = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--user", "$(id -u):$(id -g)"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def runs_of(text: str) -> list[tuple[list[str], list[str]]]:
    """Return the options and the arguments of each ``docker run`` and ``apptainer run``."""
    found = re.findall(r'^ *(?:docker|apptainer) run ((?:[^"\n]|"[^"]*")*)$', text.replace("\\\n", " "), re.MULTILINE)
    calls = [shlex.split(each) for each in found]
    places = [next(place for place, word in enumerate(call) if word in (OURS, f"{OURS}.sif")) for call in calls]
    return [(call[:place], call[place + 1 :]) for call, place in zip(calls, places, strict=True)]


@pytest.mark.parametrize("text", TEXTS)
def test_the_image_has_one_name_and_is_built_before_it_is_run(text):
    assert f"docker build -t {OURS} .\n" in TEXTS[text]
    assert len(runs_of(TEXTS[text])) == len(re.findall("(?:docker|apptainer) run ", TEXTS[text])) >= 2


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_run_in_it_is_read_by_its_commands_and_lies_in_its_folder(text):
    assert json.loads(instructions("ENTRYPOINT")[0]) == [OURS]
    (volume,) = instructions("VOLUME")
    for options, arguments in runs_of(TEXTS[text]):
        if "--entrypoint" in options:
            continue
        read_by_parser([OURS, *arguments])
        assert f"$PWD/data:{volume}" in options or arguments == ["info"]
        assert all(word.startswith(f"{volume}/") for word in arguments if "/" in word)


def test_page_and_dockerfile_show_the_call_that_the_job_makes_without_network_on_a_root_that_stays_as_it_is():
    shown, of_file = (
        [(options, arguments) for options, arguments in runs_of(text) if "--read-only" in options]
        for text in (PAGE, TEXTS["Dockerfile"])
    )
    assert shown == of_file
    ((options, arguments),) = shown
    assert options[1 : 1 + len(LOCKED)] == LOCKED
    made = runs_of(JOB)
    assert (options, arguments) in made
    assert [options for options, arguments in made if arguments[0] in ("predict", "share")] == 3 * [options]


def test_the_user_in_it_is_not_the_root():
    (user,) = instructions("USER")
    assert int(user) > 0
    assert f"useradd --uid {user} " in DOCKERFILE


def test_it_is_made_of_what_the_wheel_is_made_of():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept >= {"nnunet_missingmod", "plans", "trainers", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in kept)
    assert f"$({OURS} path)" in DOCKERFILE
    read_by_parser([OURS, "path"])


def test_the_jobs_model_predicts_the_jobs_case(tmp_path, monkeypatch):
    """What the job does, without a container."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stored = ROOT / "tests" / "contracts" / "stored_models"
    (tmp_path / "in").mkdir()
    (copied,) = re.findall(r"cp -r (\S+) data/MODEL", JOB)
    (tmp_path / "MODEL").symlink_to(ROOT / copied)
    (program,) = [arguments[1] for options, arguments in runs_of(JOB) if "--entrypoint" in options]
    exec(program.replace("/stored/", f"{stored}/").replace("/data/", f"{tmp_path}/"), {})
    for _, arguments in runs_of(JOB):
        if arguments[0] != "-c":
            assert cli.main([word.replace("/data/", f"{tmp_path}/") for word in arguments]) == 0
    first, second = re.findall(r"^cmp data/(\S+) data/(\S+)$", JOB, flags=re.MULTILINE)[0]
    assert Path(tmp_path, first).read_bytes() == Path(tmp_path, second).read_bytes()
