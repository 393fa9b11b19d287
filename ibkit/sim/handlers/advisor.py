"""Requests of financial advisors: groups and aliases as XML, read and replaced.

Only a gateway with more than one account serves them. Not here: the accounts (`account`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

GROUPS, PROFILES, ALIASES = 1, 2, 3
HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
LONGEST: Final = 1_000_000


def accounts(client: Client) -> list[str]:
    """Return the accounts of the login: the advisor's own first."""
    return [name for name in client.gateway.managed_accounts().split(",") if name]


def check(client: Client, data_type: int) -> None:
    """Refuse clients of a plain account, and kinds of data that are no more."""
    if len(accounts(client)) < 2:
        raise invalid("FA data operations ignored for non FA customers.")
    if data_type == PROFILES:
        raise RefusedError(585, "FA Profile is not supported anymore, use FA Group instead.")
    if data_type not in {GROUPS, ALIASES}:
        raise invalid(f"Invalid FA data type {data_type}")


def request_fa(client: Client, values: Record) -> None:
    """Answer with the groups or the aliases."""
    check(client, values["data_type"])
    kept = client.gateway.fa_data.get(values["data_type"])
    xml = kept or default(values["data_type"], accounts(client))
    client.send(r.RECEIVE_FA, data_type=values["data_type"], xml=xml)


def default(data_type: int, names: list[str]) -> str:
    """Return what an advisor has before anybody changes it.

    >>> print(default(3, ["DU1", "DU2"]).count("<AccountAlias>"))
    2
    """
    if data_type == ALIASES:
        rows = [
            f"<AccountAlias><account>{name}</account><alias>{name}</alias></AccountAlias>"
            for name in names
        ]
        return f"{HEAD}<ListOfAccountAliases>{''.join(rows)}</ListOfAccountAliases>"
    members = "".join(f"<Account><acct>{name}</acct></Account>" for name in names[1:])
    group = (
        "<Group><name>All</name><defaultMethod>NetLiq</defaultMethod>"
        f'<ListOfAccts varName="list">{members}</ListOfAccts></Group>'
    )
    return f"{HEAD}<ListOfGroups>{group}</ListOfGroups>"


def replace_fa(client: Client, values: Record) -> None:
    """Keep what the client sends, if it is XML without declarations of its own."""
    check(client, values["data_type"])
    xml = values["xml"]
    if "<!" in xml or len(xml) > LONGEST:
        raise invalid("Invalid FA data.")
    try:
        ET.fromstring(xml)  # noqa: S314  without declarations nothing can expand
    except ET.ParseError as error:
        raise invalid(f"Invalid FA data: {error}") from None
    client.gateway.fa_data[values["data_type"]] = xml
    client.send(r.REPLACE_FA_END, req_id=values["req_id"], text="success")


HANDLERS: Final = {"request_fa": request_fa, "replace_fa": replace_fa}
