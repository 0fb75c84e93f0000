"""csf24 users: who may log in to the status page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.monitoring.role import Role

app = typer.Typer(no_args_is_help=True, help="Set, list and remove those who may log in to the status page.")

UsersPath = Annotated[
    Path, typer.Option("--file", help="The file that `status_page.users_file` names; made if it is not there.")
]
Name = Annotated[str, typer.Argument(metavar="NAME")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")]


@app.command(name="set")
def set_(
    name: Name,
    *,
    file: UsersPath,
    role: Annotated[Role, typer.Option(help="view: look; act: also retry, release and discard.")] = Role.VIEW,
    password_stdin: FromStdin = False,
) -> None:
    """Give somebody a role and a password; a running service takes it up at once and ends their sessions."""
    from service.monitoring.users_file import set_user

    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt="Once more")
    set_user(file, name, role, password)
    typer.echo(f"{name} may {role.value}; {file} must be readable by the service's account, and by nobody else")


@app.command(name="list")
def list_(
    *, file: UsersPath, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False
) -> None:
    """Names and roles."""
    from service.monitoring.users_file import read_users

    accounts = read_users(file)
    if as_json:
        typer.echo(json.dumps([{"name": a.name, "role": a.role.value} for a in accounts.values()], indent=2))
        return
    for account in accounts.values():
        typer.echo(f"{account.name}\t{account.role.value}")


@app.command()
def remove(name: Name, *, file: UsersPath) -> None:
    """Take somebody out; their sessions end at once."""
    from service.monitoring.users_file import remove_user

    remove_user(file, name)
    typer.echo(f"{name} may no longer log in")
