"""Brings the system to a plan, notes first what it will change, and takes all of it back."""

from __future__ import annotations

import asyncio
import contextlib

from ratbond.logs import get_logger
from ratbond.netcfg import kernel, nat
from ratbond.netcfg.journal import Journal
from ratbond.netcfg.plan import (
    MAIN_TABLE,
    Address,
    Barrier,
    Forwarding,
    LooseReversePath,
    Plan,
    PortForwards,
    Route,
    Rule,
    Step,
    Translation,
    Up,
)
from ratbond.netcfg.sysctls import Sysctls

log = get_logger(__name__)


class Network:
    """The changes that one end of a tunnel has made to the system.

    Every change goes through :meth:`reconcile`; :meth:`undo` leaves the system as it was found.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kernel = kernel.Kernel()
        self._sysctls = Sysctls(journal)
        self._applied: Plan = ()
        self._gone: set[str] = set()
        self._busy = asyncio.Lock()

    @property
    def applied(self) -> Plan:
        """The plan that is in place."""
        return self._applied

    async def recover(self, keep: Plan = ()) -> int:
        """Undoes what a former run, ended by force, left behind, but for what is to ``keep``; returns how many things that were.

        It is done to its end even when the caller is cancelled meanwhile: :meth:`undo` waits for it, and only then forgets the notes.
        """
        return await asyncio.shield(self._recover(keep))

    async def _recover(self, keep: Plan) -> int:
        async with self._busy:
            found = self._journal.read()
            left = [step for step in found if step not in keep]
            restored = 0
            try:
                for step in reversed(left):
                    await self._undo(step)
                restored = self._sysctls.release_all()
            except OSError as error:
                log.warning("could not undo all that a former run left behind", why=error.strerror)
            self._applied = tuple(step for step in found if step in keep)
            self._journal.write(list(self._applied))
            return len(left) + restored

    def device_gone(self, device: str) -> None:
        """A device of ours has ceased to exist: with it went its addresses and routes, and another may come by its name."""
        self._gone.add(device)

    async def reconcile(self, plan: Plan) -> None:
        """Does what is new in the plan and undoes what is no longer in it. Raises OSError when the kernel refuses."""
        async with self._busy:
            self._forget_gone()
            if plan != self._applied:
                await self._reconcile(plan)

    async def _reconcile(self, plan: Plan) -> None:
        """Removing an address takes others of its subnet and the device's routes along: then all of that device is made anew.

        The rules as well, since they lead to its routes; not those that lead to a barrier, which holds meanwhile.
        """
        wanted = set(plan)
        moved = {s.device for s in self._applied if isinstance(s, Address) and s not in wanted}
        if moved:
            fenced = any(isinstance(s, Barrier) for s in self._applied)
            await self._move_to(tuple(s for s in self._applied if not _falls_with(s, moved, fenced=fenced)))
        await self._move_to(plan)

    def _forget_gone(self) -> None:
        for device in self._gone:
            self._sysctls.release(kernel.reverse_path_key(device))
        self._applied = tuple(s for s in self._applied if _outlives(s, self._gone))
        self._gone.clear()

    async def _move_to(self, plan: Plan) -> None:
        old = self._applied
        before, after = set(old), set(plan)
        self._journal.write(list(dict.fromkeys((*old, *plan))))
        self._applied = tuple(dict.fromkeys((*old, *plan)))  # what may be in place, should a step fail
        for step in plan:
            if step not in before and not isinstance(step, Rule):
                await self._do(step)
        await self._change_rules(old, plan)
        for step in reversed(old):
            if step not in after and not isinstance(step, Rule) and not _is_replaced(step, plan):
                await self._undo(step)
        self._applied = plan
        self._journal.write(list(plan))

    async def reassert(self) -> bool:
        """Does again what somebody else has undone meanwhile (a network manager's restart, say). True if anything was."""
        async with self._busy:
            try:
                return await self._reassert()
            except OSError as error:  # the next look comes
                log.warning("could not look whether all is still in place", why=error.strerror)
                return False

    async def _reassert(self) -> bool:
        lost = [step for step in self._applied if await self._is_lost(step)]
        lost += await nat.lost(
            [step for step in self._applied if isinstance(step, Translation | PortForwards)]
        )
        for step in lost:
            log.warning("somebody has undone what the tunnel needs; doing it again", step=_describe(step))
        if any(isinstance(step, Rule) for step in lost):
            rules = tuple(s for s in self._applied if isinstance(s, Rule))
            await self._change_rules(rules, rules, again=True)
        for step in lost:
            if not isinstance(step, Rule):
                await self._do(step)
        return bool(lost)

    async def undo(self) -> None:
        """Takes everything back and forgets it. Says what could not be taken back."""
        async with self._busy:
            await self._undo_all()

    async def _undo_all(self) -> None:
        for step in reversed(self._applied):
            try:
                await self._undo(step)
            except OSError as error:
                log.warning("could not undo a change", step=_describe(step), why=error.strerror)
        self._applied = ()
        self._sysctls.release_all()
        await self._kernel.close()
        self._journal.close()

    async def _do(self, step: Step) -> None:
        match step:
            case Up():
                await self._kernel.set_up(step)
            case Address():
                await self._kernel.add_address(step)
            case Route():
                await self._kernel.add_route(step)
            case Barrier():
                await self._kernel.add_barrier(step)
            case Rule():
                await self._kernel.append_rule(step)
            case LooseReversePath():
                self._sysctls.loosen_reverse_path(step.device)
            case Forwarding():
                self._sysctls.forward(step.family)
            case Translation() | PortForwards():
                await nat.apply(step)

    async def _undo(self, step: Step) -> None:
        match step:
            case Up():
                pass  # the device goes with its process
            case Address():
                with contextlib.suppress(OSError):  # gone with the device
                    await self._kernel.remove_address(step)
            case Route():
                await self._kernel.remove_route(step)
            case Barrier():
                await self._kernel.remove_barrier(step)
            case Rule():
                await self._kernel.remove_rule(step)
            case LooseReversePath():
                self._sysctls.release(kernel.reverse_path_key(step.device))
            case Forwarding():
                self._sysctls.stop_forwarding(step.family)
            case Translation() | PortForwards():
                await nat.undo(step)

    async def _change_rules(self, old: Plan, new: Plan, *, again: bool = False) -> None:
        """Appends the new rules in their order before it removes the old ones, so that no packet meets half of them."""
        for priority in {s.priority for s in (*old, *new) if isinstance(s, Rule)}:
            before = [s for s in old if isinstance(s, Rule) and s.priority == priority]
            after = [s for s in new if isinstance(s, Rule) and s.priority == priority]
            if before == after and not again:
                continue
            for rule in after:
                await self._kernel.append_rule(rule)
            for rule in before:
                if rule not in after or not again or await self._kernel.count_rules(rule) > 1:
                    await self._kernel.remove_rule(rule)

    async def _is_lost(self, step: Step) -> bool:
        match step:
            case Rule():
                return await self._kernel.count_rules(step) == 0
            case Route() if step.table == MAIN_TABLE:
                return False  # who takes a route out of the main table knows why
            case Route() | Barrier():
                return not await self._kernel.has_route(step)
            case LooseReversePath():
                return kernel.reverse_path_is_strict(step.device)
            case Forwarding():
                return kernel.read_sysctl(kernel.forwarding_key(step.family)) == "0"
            case _:
                return False


def _falls_with(step: Step, devices: set[str], *, fenced: bool) -> bool:
    """Whether a step must be done anew when these devices lose an address. One end's rules all lead to its one default route."""
    return (isinstance(step, Rule) and not fenced) or (
        isinstance(step, Up | Address | Route) and step.device in devices
    )


def _outlives(step: Step, devices: set[str]) -> bool:
    """Whether a step is in place, though these devices are gone."""
    return (
        isinstance(step, Barrier | Rule | Forwarding | Translation | PortForwards)
        or step.device not in devices
    )


def _is_replaced(step: Step, plan: Plan) -> bool:
    """Whether a step of the plan has taken this one's place: an owner has one table of a kind."""
    if not isinstance(step, Translation | PortForwards):
        return False
    return any(type(other) is type(step) and other.owner == step.owner for other in plan)


def _describe(step: Step) -> str:
    match step:
        case Rule():
            return f"rule {step.priority}"
        case Barrier():
            return f"unreachable {step.destination}"
        case Route():
            return f"route {step.destination} dev {step.device}"
        case LooseReversePath():
            return f"rp_filter of {step.device}"
        case Address():
            return f"address {step.interface} of {step.device}"
        case Up():
            return f"{step.device} up"
        case Forwarding():
            return f"IPv{step.family} forwarding"
        case Translation():
            return f"address translation for {step.device}"
        case PortForwards():
            return f"port forwards to {step.device}"
