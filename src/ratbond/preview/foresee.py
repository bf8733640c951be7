"""Asks the machine what there is and plans what an end would do there: the same plan that is applied, and nothing of it done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface

from ratbond.clients import file as clients_file
from ratbond.clients.model import ClientEntry
from ratbond.config import ClientConfig, ServerConfig
from ratbond.daemon.endpoint import ResolutionError, resolve
from ratbond.daemon.forwarding import refuse_taken
from ratbond.daemon.roster import addresses_of, tunnel_config
from ratbond.daemon.tunnel import configured_addresses, refuse_overlap, wanted
from ratbond.daemon.ways import link_policy, uplink_over
from ratbond.errors import RatbondError
from ratbond.links.choice import choose_links, why_not_yet
from ratbond.links.model import Snapshot
from ratbond.links.netlink import read_snapshot
from ratbond.models import IPInterface
from ratbond.netcfg import journal, kernel, nat, nft, words
from ratbond.netcfg.plan import (
    Forwarding,
    LooseReversePath,
    NatStep,
    Plan,
    PortForwards,
    Step,
    Translation,
    Uplink,
    plan,
)
from ratbond.netcfg.sysctls import due
from ratbond.preview.model import Change, Preview, When

_DEFAULT = "default"  # the device whose sysctls new ones begin with
_UNKNOWN: tuple[IPInterface, ...] = (ip_interface("0.0.0.0/32"),)


async def foresee(config: ClientConfig | ServerConfig) -> Preview:
    """What this end would change. Raises RatbondError for what would end it at its start."""
    snapshot = await read_snapshot()
    remarks = [*_about_notes(config.end_name)]
    if isinstance(config, ClientConfig):
        if config.invitation is None:
            refuse_overlap(config, snapshot)
        else:
            remarks.append(f"{words.TO_BE_ASSIGNED} stands for those that the server assigns this client.")
        uplinks, missing = await _uplinks(config, snapshot)
        stages = _client_stages(config, uplinks)
        changes = [
            _tun(config.device, When.START),
            *await _changes(stages, config.device, snapshot),
        ]
        return Preview(config.role.value, tuple(changes), (*remarks, *missing))
    if config.clients_file is None:
        refuse_overlap(config, snapshot)
        refuse_taken(config, ())
        return Preview("server", tuple(await _server_changes(config, snapshot)), tuple(remarks))
    changes = []
    entries = clients_file.read(config.clients_file).client
    refuse_taken(config, entries)
    for entry in entries:
        if not entry.revoked:
            changes += await _server_changes(tunnel_config(config, entry), snapshot, entry)
    return Preview("server", tuple(changes), tuple(remarks))


def _about_notes(end: str) -> Iterator[str]:
    """What others' notes say of this end. Raises RatbondError when they cannot be read."""
    try:
        known = journal.ends(journal.state_directory())
    except OSError as error:
        raise RatbondError(
            f"cannot read the notes of a former run: {error.strerror}; run it as root"
        ) from None
    if known.get(end):
        yield f"{end} is running: what it has changed is not told again. Stop it to see the whole."
    elif end in known:
        yield f"{end} was killed: what it left is undone before anything else."


async def _uplinks(config: ClientConfig, snapshot: Snapshot) -> tuple[tuple[Uplink, ...], list[str]]:
    """The links as a client would choose them now, and what there is to say of those that are missing."""
    try:
        remotes = await resolve(config.connect_addr)
    except ResolutionError as error:
        return (), [f"No links yet: {error}."]
    policy = link_policy(
        config, remotes, device=config.device, tunnel_networks=(config.tunnel_ip, config.network6)
    )
    links = choose_links(snapshot, policy)
    present = {link.device for link in links}
    missing = [
        f"No link {spec.device} yet: {why_not_yet(snapshot, policy, spec)}."
        for spec in config.named_wans
        if spec.device not in present
    ]
    if not links and not missing:
        missing = ["No links yet: no interface that is up has a default route."]
    return tuple([await uplink_over(link, remotes[link.family]) for link in links]), missing


def _client_stages(config: ClientConfig, uplinks: tuple[Uplink, ...]) -> list[tuple[When, Plan]]:
    addresses = _UNKNOWN if config.invitation else configured_addresses(config, peer="ratbond")
    return [
        (When.START, plan(wanted(config, config.device))),
        (When.LINKS, plan(wanted(config, config.device, uplinks))),
        (When.MET, plan(wanted(config, config.device, uplinks, addresses=addresses))),
        (When.UP, plan(wanted(config, config.device, uplinks, addresses=addresses, up=True))),
    ]


async def _server_changes(
    config: ServerConfig, snapshot: Snapshot, entry: ClientEntry | None = None
) -> list[Change]:
    addresses = addresses_of(entry) if entry else configured_addresses(config, peer="ratbond")
    behind = entry or config
    steps = plan(
        wanted(config, config.device, addresses=addresses, networks=behind.behind, forwards=behind.forward)
    )
    told = await _changes([(When.MET, steps)], config.device, snapshot)
    changes = [_tun(config.device, When.MET), *told]
    return [replace(change, client=entry.name if entry else "") for change in changes]


def _tun(device: str, when: When) -> Change:
    return Change(when, "tun", f"ip tuntap add dev {device} mode tun")


async def _changes(stages: list[tuple[When, Plan]], device: str, snapshot: Snapshot) -> list[Change]:
    translating = any(isinstance(step, NatStep) for _, steps in stages for step in steps)
    try:
        ruleset = await nft.ruleset() if translating else []
    except OSError as error:
        raise RatbondError(f"{error.strerror}; run it as root") from None
    new = "" if snapshot.device_named(device) else device
    done: set[Step] = set()
    changes = []
    for when, steps in stages:
        for step in steps:
            if step not in done:
                changes += [Change(when, *told) for told in _told(step, new, ruleset)]
        done.update(steps)
    return changes


def _told(step: Step, new: str, ruleset: nft.Ruleset) -> Iterator[tuple[str, str, str]]:
    """Kind, command, and what was before, of all that a step would change. ``new`` is the device that is yet to be made."""
    match step:
        case LooseReversePath() | Forwarding():
            for key, value, before in _settings(step, new):
                yield "sysctl", words.setting(key, value), before
        case Translation() | PortForwards():
            yield "nft", f"nft -f - <<'END'\n{nat.script(step, ruleset)}END", ""
        case _:
            yield type(step).__name__.lower(), words.command(step), ""


def _settings(step: LooseReversePath | Forwarding, new: str) -> Iterator[tuple[str, str, str]]:
    """Keys, values, and what was before; a new device begins with the defaults."""
    of_new = isinstance(step, LooseReversePath) and step.device == new
    for key, value in due(LooseReversePath(_DEFAULT) if of_new else step).items():
        before = kernel.read_sysctl(key)
        if not of_new:
            yield key, value, before
        if new and f"/{_DEFAULT}/" in key:
            yield key.replace(f"/{_DEFAULT}/", f"/{new}/"), value, before
