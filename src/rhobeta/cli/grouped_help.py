"""The list of commands in groups, and a description and examples for each command."""

import argparse
import textwrap
from collections.abc import Sequence

_WIDTH = 79


class Commands:
    """The subcommands of a parser, by group in the order in which they are added."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(
            dest="command",
            required=True,
            metavar="COMMAND",
            parser_class=argparse.ArgumentParser,
        )
        self._groups: dict[str, dict[str, str]] = {}
        self.files: list[argparse.Action] = []
        """Arguments that may be files, for `rhobeta completion`."""
        self.presets: list[argparse.Action] = []
        """Arguments that name a preset."""

    def begin_group(self, title: str) -> None:
        """Put the commands that are added from now on under this title."""
        self._groups[title] = {}

    def add(
        self,
        name: str,
        summary: str,
        *,
        description: str | None = None,
        examples: Sequence[str] = (),
    ) -> argparse.ArgumentParser:
        """Add the command `name` and return its parser.

        Args:
            name: The word on the command line.
            summary: One line for the list of commands, without a capital and a full stop.
            description: Sentences above the options (default: the summary as a sentence).
            examples: Command lines to show below the options.
        """
        self._groups[next(reversed(self._groups))][name] = summary
        text = description or f"{summary[:1].upper()}{summary[1:]}."
        lines = ["examples:", *(f"  {example}" for example in examples)]
        return self._parsers.add_parser(
            name,
            help=summary,
            description=textwrap.fill(text, _WIDTH),
            epilog="\n".join(lines) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def __str__(self) -> str:
        """One block a group: its title, and a line for each command."""
        width = max(len(name) for group in self._groups.values() for name in group)
        return "\n\n".join(
            "\n".join([f"{title}:", *(f"  {name:{width}}  {text}" for name, text in group.items())])
            for title, group in self._groups.items()
        )


class GroupedParser(argparse.ArgumentParser):
    """A parser whose help lists its commands in groups, which argparse cannot do."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(prog, description=description, epilog=epilog)
        self.commands = Commands(self)

    def format_help(self) -> str:
        """Usage, description, the commands by group, and the epilog."""
        return f"{self.format_usage()}\n{self.description}\n\n{self.commands}\n\n{self.epilog}\n"
