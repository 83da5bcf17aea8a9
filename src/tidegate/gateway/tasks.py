"""Tasks: the handles that clients know servers' tasks by, and who may use them.

A handle says, sealed, where a task is and which tool made it. It opens for the principal and endpoint it was made
for and for nobody else, and every use of it is authorised anew as a use of that tool: knowing one is never enough.
Nothing is sent here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from tidegate.access.authorize import Undecided
from tidegate.channels.channel import Answer as ServerAnswer
from tidegate.channels.channel import Asked, Notify, Reply
from tidegate.domain.errors import (
    InvalidParams,
    MethodNotFound,
    MissingCapability,
    ParseFailure,
    UpstreamProtocolError,
)
from tidegate.domain.principal import Principal
from tidegate.domain.server import ServerSpec
from tidegate.fleet.workload import Workload
from tidegate.gateway.call import Call
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.handles import UNKNOWN, Handle, Origin, has, may_use, possible
from tidegate.gateway.seal import Seal, SealBroken
from tidegate.gateway.task_questions import TaskQuestions
from tidegate.protocol import tasks
from tidegate.protocol.codec import Object, decode_object, encode

LONGEST_HANDLE = 4096
"""Characters of a handle that are looked at; those we make are shorter. It stands in the header `Mcp-Name`."""
LIFETIME = 7 * 86_400.0
"""Seconds a handle may be used, as long as a session."""
HELD = 3600.0
"""Seconds since it was last heard of for which a task that goes on keeps its workload from being ended as idle."""
_KNOWN = 10_000
"""Tasks that are kept in mind, so that one is always shown under one handle; the longest unused go first."""
_GOING_ON = 1024
"""Workloads with tasks that go on; with more, those are forgotten that nobody asks for any more."""
_EARLY, _EARLY_SIZE = 256, 16 * 1024
"""Notices of tasks that are not known yet, and bytes of one: a server that makes them up must not fill the memory."""
_SHOWN_TO = 8
"""Principals and endpoints that one task is shown to: a server that gives many one id is at fault."""


@dataclass(slots=True)
class _Shown:
    """One handle that somebody knows a task by."""

    text: str
    handle: Handle
    principal: Principal
    endpoint: Endpoint
    session: str | None
    """Key of the legacy session that was told of it last."""


Made = Callable[[Call, Handle, str, "float | None"], None]
"""Learns that a call became a task: its handle, how that is shown, and for how many seconds the task is kept."""


Early = Callable[[str, str, Object], None]
"""Tells a session (key, handle, params) what its server told of a task before it answered that there is one."""


def _nobody(session: str, text: str, params: Object) -> None: ...


def _nothing(call: Call, handle: Handle, text: str, kept: float | None) -> None: ...


_Place = tuple[str, str, str, str]
"""Server, sharing key, workload, the server's id."""


class Tasks:
    """Makes and opens handles."""

    def __init__(self, seal: Seal, clock: Callable[[], float]) -> None:
        """`clock` gives seconds and never goes back."""
        self.questions = TaskQuestions()
        self.made: Made = _nothing
        self.early: Early = _nobody
        self._seal = seal
        self._clock = clock
        self._known: OrderedDict[_Place, dict[tuple[str, str], _Shown]] = OrderedDict()
        self._early: OrderedDict[_Place, Object] = OrderedDict()
        self._going_on: dict[tuple[str, str], dict[str, float]] = {}
        """By server and sharing key: until when each task holds its workload."""

    # -- requests -----------------------------------------------------------------------------

    def open(self, call: Call) -> Handle:
        """Open the handle that a `tasks/*` request names.

        Raises:
            MethodNotFound: the client's era has no such method.
            MissingCapability: a modern client did not declare the extension.
            InvalidParams: there is no such task for this principal; why is not told.
        """
        modern = call.inbound.modern
        if call.method not in (tasks.MODERN_METHODS if modern else tasks.LEGACY_METHODS):
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        if modern:
            require_extension(call)
        handle = self.read(call.principal, call.endpoint, tasks.named(call.params) or "")
        if handle.modern is not modern:
            raise InvalidParams(UNKNOWN)
        return handle

    def read(self, principal: Principal, endpoint: Endpoint, text: str) -> Handle:
        """Open a handle, and see that its principal may still use the tool that made it.

        Raises:
            InvalidParams: there is no such task for this principal; why is not told.
            Undecided: that has to be decided first.
        """
        try:
            if len(text) > LONGEST_HANDLE:
                raise SealBroken("too long")
            value = self._seal.open("task", text, bound=_bound(principal, endpoint), lifetime=LIFETIME)
            handle = msgspec.msgpack.decode(value, type=Handle)
        except (SealBroken, msgspec.DecodeError) as error:
            raise InvalidParams(UNKNOWN) from error
        if not may_use(principal, endpoint, handle):
            decision = endpoint.authorizer.decide(principal, handle.target)
            raise InvalidParams(
                UNKNOWN, target=handle.target, decision=None if decision.allowed else decision
            )
        return handle

    def check(self, handle: Handle, workload: Workload) -> None:
        """See that a leased workload is the one that has the task.

        Raises:
            InvalidParams: the one that had it is gone, and the task with it.
        """
        if not has(workload, handle):
            raise InvalidParams(UNKNOWN)

    def augment(self, call: Call, spec: ServerSpec, era: str, params: Object) -> Object:
        """Give the params of a `tools/call` as a server of an era gets them, as far as `task` goes.

        Raises:
            MethodNotFound: the client asks for a task, which this endpoint has, but not of this tool (2025-11-25,
                basic/utilities/tasks, Tool-Level Negotiation). Where it has none, asking is of no effect.
        """
        if "task" not in params:
            return params
        if not call.inbound.modern and tasks.augmented(params):
            if era == "legacy" and possible(spec):
                return params
            if _has_tasks(call):
                raise MethodNotFound("this tool cannot be called as a task")
        return {name: value for name, value in params.items() if name != "task"}

    # -- results ------------------------------------------------------------------------------

    def out(
        self, call: Call, origin: Origin, result: Raw, inlined: Callable[[Raw], Raw] | None = None
    ) -> Raw:
        """Give a server's result with handles for its task ids; the same object where it names none.

        `inlined` is done to the tool's own result, where it comes as that of a task (it has URIs to be renamed).

        Raises:
            MissingCapability: the call became a task, or the task asks for something, and this client did not
                say that it takes that.
            UpstreamProtocolError: the id of a task is missing or too long, or its questions are none.
            JournalUnavailable: what the task asks cannot be recorded.
        """
        try:
            fields = decode_object(result)
        except ParseFailure:
            return result
        if not tasks.concerned(call.method, fields):
            return result
        method = call.method
        if method == "tools/call" and not _became_task(call, fields):
            method = ""  # what it says of tasks besides is the tool's own affair
        if method == "tasks/get":
            passed = self.questions.passed(call, _place(origin, tasks.named(fields) or ""), fields)
            result = result if passed is fields else Raw(encode(passed))
        renamed = tasks.in_result(method, result, self._renaming(call, origin), inlined)
        if method == "tasks/result" and inlined is not None:
            renamed = inlined(renamed)
        self._note(call, method, origin, fields)
        return renamed

    def asked(self, call: Call, origin: Origin | None, asked: Asked) -> Asked:
        """Give what takes a server's questions during a call, with handles for its task ids.

        `origin` is where the task is that the call is about, or may become; None where that is none.
        """
        if origin is None:
            return asked

        backs: dict[ServerAnswer, ServerAnswer] = {}

        def related(method: str, params: Object, answer: ServerAnswer) -> bool:
            try:
                told = tasks.in_params(method, params, self._renaming(call, origin))
            except UpstreamProtocolError:
                return False

            def back(reply: Reply) -> None:
                answer(reply if reply.result is None else Reply(self._answered(call, reply.result), None))

            # A question that is given up comes again with its own answer.
            return asked(method, told, backs.setdefault(answer, back))

        return related

    def notify(self, call: Call, origin: Origin | None, notify: Notify) -> Notify:
        """Give what takes a server's notifications during a call, likewise."""
        if origin is None:
            return notify

        def related(method: str, params: Object) -> None:
            with suppress(UpstreamProtocolError):
                notify(method, tasks.in_params(method, params, self._renaming(call, origin)))

        return related

    def _answered(self, call: Call, result: Raw) -> Raw:
        """Give a client's answer to a question, with the server's own id for a handle."""

        def back(text: str) -> str | None:
            try:
                return self.read(call.principal, call.endpoint, text).task
            except (InvalidParams, Undecided):
                return None

        return tasks.in_result("", result, back)

    # -- what servers say by themselves -------------------------------------------------------

    def statuses(self, workload: tuple[str, str, str], params: Object) -> Sequence[tuple[str, str, Handle]]:
        """Give the legacy sessions that know the task of a `notifications/tasks/status`, each with its handle:
        as it is shown, and opened.

        `workload` is its server, its key in the pool, and its id when it said so.
        """
        task = tasks.named(params)
        if task is None:
            return ()
        place = (*workload, task)
        if place not in self._known:
            self._keep_early(place, params)
            return ()
        self._progress(place, params)
        found: list[tuple[str, str, Handle]] = []
        for shown in self._known.get(place, {}).values():
            if shown.session is not None and may_use(shown.principal, shown.endpoint, shown.handle):
                found.append((shown.session, shown.text, shown.handle))
        return found

    def heard(self, call: Call, handle: Handle, params: Object) -> Object:
        """Learn from a `notifications/tasks` how a task is; give what its client, which listens, may be told.

        Raises:
            Refusal, UpstreamProtocolError, JournalUnavailable: nothing, as in `out`.
        """
        place = _place(handle.origin, handle.task)
        self._progress(place, params)
        return self.questions.passed(call, place, params)

    def held(self, server: str, sharing: str) -> bool:
        """Tell whether a workload has tasks that go on, and so is not idle."""
        until = self._going_on.get((server, sharing))
        if until is None:
            return False
        now = self._clock()
        for task in [task for task, end in until.items() if end <= now]:
            del until[task]
        if not until:
            del self._going_on[server, sharing]
        return bool(until)

    # -- inside -------------------------------------------------------------------------------

    def _renaming(self, call: Call, origin: Origin) -> Callable[[str], str]:
        def rename(task: str) -> str:
            if len(task) > tasks.LONGEST:
                raise UpstreamProtocolError(f"a task id is longer than {tasks.LONGEST} characters")
            return self._show(call, origin, task)

        return rename

    def _show(self, call: Call, origin: Origin, task: str) -> str:
        """Give the handle of a task: the one that the request named, or that its principal knows it by, if any."""
        place = _place(origin, task)
        handle = Handle(
            call.inbound.modern, origin.server, origin.sharing, origin.workload, origin.tool, task
        )
        shown = self._known.setdefault(place, {})
        self._known.move_to_end(place)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        owner = call.principal.key, call.endpoint.path
        before = shown.get(owner)
        if before is not None and before.handle != handle:
            before = None  # a server that gives an id twice must not make one tool's task another's
        if before is None and len(shown) >= _SHOWN_TO:
            shown.clear()
        text = self._named(call, handle) or (before and before.text) or self._make(call, handle)
        session = call.session.key if call.session is not None else before and before.session
        shown[owner] = _Shown(text, handle, call.principal, call.endpoint, session)
        return text

    def _named(self, call: Call, handle: Handle) -> str | None:
        if not call.method.startswith("tasks/"):
            return None
        text = tasks.named(call.params) or ""
        try:
            return text if self.read(call.principal, call.endpoint, text) == handle else None
        except (InvalidParams, Undecided):
            return None

    def _make(self, call: Call, handle: Handle) -> str:
        bound = _bound(call.principal, call.endpoint)
        return self._seal.seal("task", msgspec.msgpack.encode(handle), bound=bound)

    def _note(self, call: Call, method: str, origin: Origin, fields: Object) -> None:
        task = tasks.created(fields) if method == "tools/call" else tasks.named(fields)
        if not task or not method:
            return
        place = _place(origin, task)
        self._progress(place, fields)
        shown = self._known.get(place, {}).get((call.principal.key, call.endpoint.path))
        if method != "tools/call" or shown is None:
            return
        self.made(call, shown.handle, shown.text, tasks.state(fields)[1])
        early = self._early.pop(place, None)
        if early is not None and shown.session is not None:
            self._progress(place, early)
            self.early(shown.session, shown.text, early)

    def _keep_early(self, place: _Place, params: Object) -> None:
        """Keep what a server told of a task that nobody knows of: its answer may come in the same breath."""
        if sum(len(value) for value in params.values()) > _EARLY_SIZE:
            return
        self._early.pop(place, None)
        self._early[place] = {key: Raw(bytes(value)) for key, value in params.items()}
        if len(self._early) > _EARLY:
            self._early.popitem(last=False)

    def _forget_old(self) -> None:
        """Forget what went on at workloads that are gone: nobody asks whether those are held."""
        now = self._clock()
        for key in [key for key, until in self._going_on.items() if max(until.values()) <= now]:
            del self._going_on[key]

    def _progress(self, place: _Place, fields: Object) -> None:
        server, sharing, _, task = place
        status, kept = tasks.state(fields)
        if (server, sharing) not in self._going_on and len(self._going_on) >= _GOING_ON:
            self._forget_old()
        going_on = self._going_on.setdefault((server, sharing), {})
        if status in tasks.TERMINAL:
            going_on.pop(task, None)
        elif status and (task in going_on or len(going_on) < _KNOWN):
            going_on[task] = self._clock() + min(HELD if kept is None else kept, HELD)
        if not going_on:
            del self._going_on[server, sharing]


def _has_tasks(call: Call) -> bool:
    try:
        return "tasks" in call.endpoint.capabilities(call.principal, modern=False)
    except Undecided:  # what is said of it makes no call go out
        return True


def require_extension(call: Call) -> None:
    """See that a modern client declared the extension with this request.

    Raises:
        MissingCapability: it did not.
    """
    if not tasks.declared(call.inbound.capabilities):
        raise _missing(f"this request needs the extension {tasks.EXTENSION}")


def _became_task(call: Call, fields: Object) -> bool:
    if tasks.is_task(fields):
        if not (call.inbound.modern and tasks.declared(call.inbound.capabilities)):
            raise _missing("the server made a task of the call, which this client did not say that it takes")
    elif call.inbound.modern or not tasks.augmented(call.params):
        return False
    task = tasks.created(fields)
    if task == "":
        raise UpstreamProtocolError("a task came without an id")
    return task is not None


def _place(origin: Origin, task: str) -> _Place:
    return origin.server, origin.sharing, origin.workload, task


def _missing(message: str) -> MissingCapability:
    return MissingCapability(message, data={"requiredCapabilities": tasks.REQUIRED})


def _bound(principal: Principal, endpoint: Endpoint) -> str:
    return f"{principal.key} {endpoint.path}"
