"""What `tidegate explain` writes for people. Takes what the admin API tells; asks and decides nothing."""

from __future__ import annotations

from typing import Any

from tidegate.cli.output import cell, out, table, write
from tidegate.cli.times import moment

_Told = dict[str, Any]
_NOTHING = ("", "no rule")
"""What stands for the rule where none allows it."""
_OTHERWISE = ". It would not where "
"""What a policy that denies says where it would not: told below the table, with the rest that would have helped."""
_HIDDEN = "it is hidden: to this principal it looks as if it were not there"


def show_now(told: _Told) -> None:
    """Show what would become of a call."""
    write(_flat(f"{_who(told['who'])} asks {told['endpoint']} for the {told['kind']} {told['name']}"))
    write("")
    write(_flat(_verdict(told)))
    write("")
    _steps(told)
    _reads(told["reads"])
    _list("what would have allowed it:", [] if told["part"] == "name" else told["help"])
    _list("notes:", told["notes"])


def show_call(told: _Told) -> None:
    """Show what became of a call, and what would now."""
    who = f"from {told['peer'] or 'nowhere known'}" if told["who"] is None else _who(told["who"])
    what = f"{told['kind']} {told['own']} of {told['server']}" if told["server"] else told["name"]
    about = f" for {told['name'] or what}" if told["name"] or told["server"] else ""
    own = f" ({what})" if told["server"] and told["name"] else ""
    write(
        _flat(
            f"{told['id']}: {moment(told['time'])}, {who} asked {told['endpoint']}, {told['method']}{about}{own}"
        )
    )
    write("")
    write(_flat(_outcome(told)))
    write("")
    _reads(told["reads"])
    now = told["now"]
    if now is not None:
        write(_flat(("now it would be otherwise: " if told["differs"] else "now: ") + _verdict(now)))
        write("")
        _list("what would allow it now:", [] if now["part"] == "name" else now["help"])
    _list("notes:", told["notes"])


def _verdict(told: _Told) -> str:
    rule = f" by {told['rule']}" if told["rule"] else ""
    if told["allowed"]:
        return f"ALLOWED{rule}"
    if told["depends"]:
        return f"IT DEPENDS on the arguments, by {told['rule']}: it is listed, and each call is judged by its own"
    if told["part"] == "name":
        return f"DENIED: {told['help'][0]}; the error is `{told['answer']}`"
    seen = "it is listed" if told["visible"] else _HIDDEN
    by = ": nothing allows it" if told["rule"] in _NOTHING else rule
    return f"DENIED{by} ({told['part']}); the error is `{told['answer']}`, {seen}"


def _outcome(told: _Told) -> str:
    rule = f" by {told['rule']}" if told["rule"] not in _NOTHING else ""
    if told["allowed"]:
        came = f"; what came of it: {told['outcome']}" if told["outcome"] else ""
        return f"ALLOWED{rule}{came}"
    because = f"; what would have allowed it: {told['because']}" if told["because"] else ""
    return f"REFUSED as `{told['reason']}`{rule}: {told['message']}{because}"


def _steps(told: _Told) -> None:
    rows = table("PART", "SAYS", "RULE", "WHY")
    for each in told["steps"]:
        why = each["why"].partition(_OTHERWISE)[0]
        row = (each["part"], each["says"] if each["says"] != "nothing" else "-", each["rule"], why)
        rows.add_row(*(cell(_flat(value)) for value in row))
    out().print(rows)
    write("")


def _reads(reads: dict[str, str]) -> None:
    if reads:
        write("what was read:")
        for name, value in reads.items():
            write(f"  {_flat(name)} = {_flat(value)}")
        write("")


def _list(head: str, lines: list[str]) -> None:
    if lines:
        write(head)
        for each in lines:
            write(f"  {_flat(each)}")


def _who(who: _Told) -> str:
    of = [f"roles {', '.join(who['roles'])}" if who["roles"] else "no roles"]
    for name in ("groups", "attributes"):
        if who[name]:
            of.append(f"{name} {', '.join(who[name])}")
    if who["client"]:
        of.append(f"client {who['client']}")
    return f"{who['subject']} ({who['issuer']}, tenant {who['tenant']}; {'; '.join(of)})"


def _flat(text: str) -> str:
    """Have a text stand in one line: a name must not look like a line of ours."""
    return " ".join(text.splitlines()).replace("\t", " ")
