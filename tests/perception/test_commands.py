"""`train` and `eval` mean the world model as before; with `perception` behind them, the other network."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from calib.errors import InputError
from genie.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("train",), "--source"),
        (("train", "perception"), "--backbone"),
        (("eval",), "--protocol"),
        (("eval", "perception"), "--rays"),
    ],
)
def test_each_has_its_own_options(arguments: tuple[str, ...], option: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"], terminal_width=200)
    assert result.exit_code == 0 and option in result.output


def test_mistakes_are_named(tmp_path: Path) -> None:
    for arguments, said in (
        (("train", "--dataroot", str(tmp_path), "--out", str(tmp_path / "run")), str(tmp_path)),
        (("eval", "perception", "--dataroot", str(tmp_path)), "v1.0"),
        (("eval", "perception", "--dataroot", str(tmp_path), "--model", str(tmp_path)), "geniedrive train perception"),
    ):
        error = CliRunner().invoke(app, list(arguments)).exception
        assert isinstance(error, InputError) and said in str(error), error
