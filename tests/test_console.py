"""Lines reach the reader at once."""

from nnunet_missingmod.console import say


def test_a_line_is_written_to_standard_output(capsys):
    say("one")
    say()
    assert capsys.readouterr() == ("one\n\n", "")
