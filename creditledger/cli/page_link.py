"""`page-link`: a link that shows a node's ratios to whoever has it. Source: specs/cli.md §25."""

import re
from pathlib import Path
from typing import Final

import click

from creditledger.cli.duration import duration
from creditledger.cli.options import json_option, key_option
from creditledger.cli.output import emit
from creditledger.errors import RoleError

_URL: Final = re.compile(r"https?://[!-~]{1,200}")
_NODE: Final = re.compile(r"[a-z0-9._-]{1,64}")


@click.command()
@click.argument("url", metavar="URL")
@click.argument("node", metavar="NODE")
@key_option
@click.option("--valid", "valid_ms", default="1d", show_default=True, metavar="DURATION", callback=duration)
@json_option
def page_link(url: str, node: str, key_path: Path, valid_ms: int, as_json: bool) -> None:
    """Print a link to the page of NODE, a hex id or name, at the pool that URL serves.

    Whoever has the link sees what only the holder of the node's key may: the ratios of its checks. Nothing is
    asked of the pool, which may know another key as the node's."""
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.keyring import KeyRole, load_key
    from creditledger.service.signed_request import LINK_AHEAD_MS_MAX, sign_link

    if not _URL.fullmatch(url) or set(url) & set("?#"):
        raise click.UsageError("URL is where the pool is served: http(s)://HOST[/PATH]")
    if not _NODE.fullmatch(node) or not node.strip("."):
        raise click.UsageError("NODE is a hex id or a registered name")
    if valid_ms > LINK_AHEAD_MS_MAX:
        raise click.UsageError("a link is valid for at most 7d")
    key = load_key(key_path, roles=(KeyRole.NODE,))
    if key.ledger_id is None:
        raise RoleError("the key belongs to no ledger yet", expected="a registered node's key")
    expires = system_clock() + valid_ms
    target = sign_link(
        key.ed25519(), ledger_id=key.ledger_id, target=f"/nodes/{node}", expires_unix_ms=expires
    )
    link = url.rstrip("/") + target
    if as_json:
        emit({"link": link, "node": node, "expires_unix_ms": expires}, as_json=True)
    else:
        click.echo(link)
