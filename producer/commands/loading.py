"""Commands that are imported when they are called: an answer does not wait for what deploys a fleet."""

import gc
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import typer
from typer.core import TyperGroup

Register = Callable[[typer.Typer], None]
"""Imports a module of commands, and adds them to the program that it is given."""


def group_of(registers: Mapping[tuple[str, ...], Register]) -> type[TyperGroup]:
    """Return the class of a program that has these commands: names, and what adds the commands of these names.

    Only what is called is imported; help, and a name that is wrong, import all.
    """
    adding = {name: register for names, register in registers.items() for name in names}

    @cache
    def commands(register: Register) -> Mapping[str, Any]:
        app = typer.Typer()
        register(app)
        gc.freeze()  # what is loaded stays
        return typer.main.get_group(app).commands

    class Group(TyperGroup):
        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            register = adding.get(cmd_name)
            if register is None:
                self.list_commands(ctx)  # a suggestion for what was mistyped is looked for among them
                return None
            self.commands.update(commands(register))
            return self.commands[cmd_name]

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer asks so
            for register in registers.values():
                self.commands.update(commands(register))
            return list(adding)

    return Group
