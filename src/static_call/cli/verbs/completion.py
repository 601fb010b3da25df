"""static-call completion: what a shell reads to complete command lines."""

from __future__ import annotations

import argparse

from static_call.cli.completion import SHELLS, script

SUMMARY = "print shell code that completes command lines"
DESCRIPTION = """\
Completes verbs, options, files, designs, and the static calls of the file that
is on the command line. It needs argcomplete, which this installs:
  pip install 'static-call[completion]'

The example is for the current bash session; put it into ~/.bashrc for all of
them. For zsh, replace bash by zsh and use ~/.zshrc. For fish:
  static-call completion fish > ~/.config/fish/completions/static-call.fish"""
EXAMPLE = """\
$ eval "$(static-call completion bash)\""""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("shell", choices=SHELLS, help="bash, zsh or fish")


def run(options: argparse.Namespace) -> int:
    """Prints it."""
    print(script(options.shell))
    return 0
