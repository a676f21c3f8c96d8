"""Shell: say what went wrong in one sentence, and let a person choose the way out.

Booting what was refused is not among the choices (SPEC M4.5).
"""

from __future__ import annotations

from phase_boot.machine.boot import Boot
from phase_boot.machine.events import ShellOpened
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports.operator import Report, Wish

WAY_OUT = "Retry, type the URL of a manifest, reboot or power off."


async def shell(world: World, boot: Boot) -> Step:
    """Leads to: init (retry), off (leave)."""
    cause = boot.trouble.sentence if boot.trouble else "a person asked for the shell"
    report = Report(cause=cause, way_out=WAY_OUT, refusals=boot.refusals)
    world.emit(ShellOpened(cause=cause, way_out=WAY_OUT))
    answer = await world.operator.ask(report)
    if answer.wish in {Wish.RETRY, Wish.URL}:
        # What was refused may be mended by now; the one time of the run stays (SPEC), and so
        # does what we know of roots and versions. The store is opened anew: an attempted jump has
        # given the Cache partition back.
        again = Boot(
            now=boot.now,
            chain=boot.chain,
            seen=boot.seen,
            typed_url=answer.url or boot.typed_url,
        )
        return Step(Trigger.RETRY, again)
    world.record.flush()
    await world.cache.release()
    await world.operator.obey(answer.wish)
    return Step(Trigger.LEAVE, boot)


HANDLER = Handler(
    state=State.SHELL,
    run=shell,
    leads=frozenset({Trigger.RETRY, Trigger.LEAVE}),
    budget=None,
)
