"""``info`` says what is installed and what may be chosen; its JSON has keys that scripts may rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

from nnunet_missingmod import __version__, plans_block
from nnunet_missingmod.cli import main
from nnunet_missingmod.commands.table import COMMANDS
from nnunet_missingmod.host import CLASS_TABLE

# Keys are added, never renamed or removed.
FROZEN = {"version", "python", "nnunetv2", "torch", "commands", "trainers", "choices"}
FROZEN_INSIDE = {
    "commands": {"group", "line"},
    "trainers": {"group", "line", "like", "sets"},
    "choices": {"default", "allowed", "values", "meaning", "used_by"},
}


def info(capsys):
    assert main(["info", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_keys_of_the_json_are_frozen(capsys):
    found = info(capsys)
    assert set(found) >= FROZEN
    for part, keys in FROZEN_INSIDE.items():
        assert all(set(entry) >= keys for entry in found[part].values()), part


def test_it_holds_everything_that_there_is(capsys):
    found = info(capsys)
    assert found["version"] == __version__
    assert (found["nnunetv2"], found["torch"]) == (version("nnunetv2"), version("torch"))
    assert list(found["commands"]) == list(COMMANDS)
    assert list(found["trainers"]) == [name for name in CLASS_TABLE if name.startswith("nnUNetTrainer")]
    assert set(found["choices"]) == {key.name for key in plans_block.KEYS}
    assert (
        found["choices"]["modality_dropout_probability"]["default"]
        == plans_block.resolve(None)["modality_dropout_probability"]
    )
    assert found["choices"]["absent_fill"]["used_by"] == "method trainers"


def test_the_text_names_the_same(capsys):
    found = info(capsys)
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"nnunet_missingmod {__version__}, Python ")
    for name, entry in [*found["commands"].items(), *found["trainers"].items()]:
        assert f"  {name} " in said
        assert entry["line"] in said
    assert all(f"  {name}: {entry['allowed']}; default " in said for name, entry in found["choices"].items())


def test_what_is_not_installed_is_said_so(capsys, monkeypatch):
    monkeypatch.setattr("nnunet_missingmod.commands.info._version_of", lambda _package: None)
    assert info(capsys)["torch"] is None
    main(["info"])
    assert "torch is not installed" in capsys.readouterr().out


def test_neither_torch_nor_the_host_is_imported_for_it():
    code = (
        "import sys; from nnunet_missingmod.cli import main; main(['info', '--json']);"
        "assert not {'torch', 'numpy', 'nnunetv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
