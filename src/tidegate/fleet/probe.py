"""Probe: one cheap request to a workload, and whether anything answers it."""

from __future__ import annotations

from tidegate.channels.channel import Channel, Outbound
from tidegate.domain.errors import ChannelTimeout, UpstreamRefused
from tidegate.domain.server import Health
from tidegate.fleet.vitals import Vitals

_BROKEN = 500
"""HTTP status from which on an answer says that the server cannot answer."""


async def answers(channel: Channel, vitals: Vitals, health: Health, *, idle: bool) -> bool:
    """Tell whether it answers in time, whatever it answers. Of an idle one its vitals learn what came.

    Raises:
        ChannelFailure: there is no way to it any more.
    """
    method = "server/discover" if channel.upstream.era == "modern" else "ping"
    try:
        await channel.ask(Outbound(method, timeout=health.timeout))
    except ChannelTimeout:
        if idle:
            vitals.failed(health, f"a probe went without answer for {health.timeout:g} s")
        return False
    except UpstreamRefused as error:
        if error.status >= _BROKEN:
            raise
    if idle:  # after a failed call, an answer to a ping does not say that calls are well
        vitals.succeeded()
    return True
