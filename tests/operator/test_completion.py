"""Completion scripts: of every shell, for both programs, and what bash really completes by them."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from pitd import cli, completion, operator

PARSERS = {"pitctl": operator.parser, "pitd": cli._parser}


def commands_of(parser: argparse.ArgumentParser) -> list[str]:
    (actions,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return list(actions.choices)


@pytest.mark.parametrize("shell", completion.SHELLS)
@pytest.mark.parametrize("program", PARSERS)
def test_a_script_knows_every_command(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = {"pitctl": operator.main, "pitd": cli.main}[program]
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in commands_of(PARSERS[program]()):
        assert name in script


def completed(tmp_path: Path, program: str, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    script = tmp_path / program
    script.write_text(completion.script(PARSERS[program](), "bash"), encoding="utf-8")
    line = " ".join((program, *words))
    asked = f"""
source {script}
function_name=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
COMP_WORDS=({program} {" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words)} COMP_LINE='{line}' COMP_POINT={len(line)}
$function_name
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "--norc", "-c", asked], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return {word.strip() for word in done.stdout.splitlines() if word.strip()}


def test_bash_completes_commands(tmp_path: Path) -> None:
    assert completed(tmp_path, "pitctl", "un") == {"unblock"}
    assert completed(tmp_path, "pitctl", "res") == {"resume"}
    assert completed(tmp_path, "pitd", "check") == {"check-config", "check-policy"}


def test_bash_completes_the_options_of_a_command(tmp_path: Path) -> None:
    assert completed(tmp_path, "pitctl", "orders", "--q") == {"--quarantined"}
    assert completed(tmp_path, "pitctl", "settle", "--w") == {"--working"}


def test_bash_completes_files_where_a_file_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").touch()
    assert "limits.toml" in completed(tmp_path, "pitd", "check-config", "--config", "lim")
