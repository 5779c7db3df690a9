"""Traces, from the request that orders a task to the stems that a worker writes; sent over OTLP where settings say.

Nothing of OpenTelemetry is loaded where there are none. Spans hold routes, ids and numbers: no addresses, names,
parameters or texts of exceptions, in which secrets might be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from backend import logs
from backend.settings.observe import Observe

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, Tracer

EXPORT_SECONDS = 5.0
EVERY_SECONDS = 1.0
"""How often spans are sent: a process that is killed loses this much."""
STOP_SECONDS = 3.0

Worth = str | int | float

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")
"""https://www.w3.org/TR/trace-context/: only a version that is newer than ours (00) may go on after the flags."""
_NOBODY = re.compile(r"0{32}-|.{32}-0{16}-")
_passed_on: ContextVar[str | None] = ContextVar("passed_on", default=None)
"""Of the request's caller, where this process sends no traces."""


class Seen:
    """A span, or nothing at all where there are no traces."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def note(self, **facts: Worth) -> None:
        if self._span is not None:
            self._span.set_attributes(_named(facts))

    def failed(self, code: str) -> None:
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, code))

    def answered(self, route: str, status: int) -> None:
        """Of a request."""
        if self._span is not None:
            self._span.update_name(route)
            self._span.set_attributes({"http.route": route, "http.response.status_code": status})
            if status >= 500:
                self.failed(str(status))


class Tracing:
    """Of one process: it begins with the first span, since its thread would not survive a fork."""

    def __init__(self, settings: Observe) -> None:
        self.on = bool(settings.traces_url)
        self._settings = settings
        self._provider: Any = None

    def stop(self) -> None:
        """Sends what is left, but does not wait for long."""
        if self._provider is not None:
            self._provider.force_flush(int(STOP_SECONDS * 1000))
            self._provider.shutdown()
            self._provider = None

    def traceparent(self) -> str | None:
        """Of the span that is open here, in W3C's form; without traces of ours that of the request's caller, for a
        worker that sends some. None where there is none."""
        if not self.on:
            return _passed_on.get()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return carrier.get("traceparent")

    @contextmanager
    def request(self, scope: Mapping[str, Any]) -> Iterator[Seen]:
        """The span of a request. Whoever sends a `traceparent` decides about our traces only where it is trusted, or
        where this process sends none: then `traceparent` hands theirs on to the worker."""
        theirs = _theirs(scope)
        if not self.on:
            token = _passed_on.set(theirs)
            try:
                yield Seen()
            finally:
                _passed_on.reset(token)
            return
        from opentelemetry.trace import SpanKind

        continued = theirs if self._settings.traces_continue else None
        facts = {"http.request.method": scope["method"][:16], "vr.request_id": scope.get("request_id", "")}
        links = () if continued else _links(theirs)
        with self._open(scope["method"][:16], SpanKind.SERVER, continued, facts, links=links, root=True) as seen:
            yield seen

    @contextmanager
    def task(self, traceparent: str | None, name: str, began: float | None = None, **facts: Worth) -> Iterator[Seen]:
        """A worker's span of a task (or of a part of one), in the trace of the request that ordered it.

        `began` is by the clock of `time.time`, where that was earlier than now.
        """
        if not self.on:
            yield Seen()
            return
        from opentelemetry.trace import SpanKind

        with self._open(name, SpanKind.CONSUMER, traceparent, _named(facts), began=began, root=True) as seen:
            yield seen

    @contextmanager
    def step(self, name: str, **facts: Worth) -> Iterator[Seen]:
        """A span within the one that is open here."""
        if not self.on:
            yield Seen()
            return
        from opentelemetry.trace import SpanKind

        with self._open(name, SpanKind.INTERNAL, None, _named(facts)) as seen:
            yield seen

    def was(self, name: str, began: float, ended: float, **facts: Worth) -> None:
        """A span within the open one, of something that is over; by the clock of `time.time`."""
        if self.on:
            span = self._tracer().start_span(name, start_time=_ns(began), attributes=_named(facts))
            span.end(_ns(ended))

    def failed(self, code: str) -> None:
        """Of the span that is open here."""
        if self.on:
            from opentelemetry.trace import get_current_span

            Seen(get_current_span()).failed(code)

    @contextmanager
    def _open(
        self,
        name: str,
        kind: Any,
        traceparent: str | None,
        facts: Mapping[str, Worth],
        *,
        links: tuple[Link, ...] = (),
        began: float | None = None,
        root: bool = False,
    ) -> Iterator[Seen]:
        from opentelemetry.trace import use_span

        span = self._tracer().start_span(
            name,
            context=_context(traceparent) if root else None,
            kind=kind,
            attributes=facts,
            links=links,
            start_time=None if began is None else _ns(began),
        )
        seen = Seen(span)
        if root:
            logs.note(trace=f"{span.get_span_context().trace_id:032x}")
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield seen
            except BaseException as error:
                seen.failed(type(error).__name__)
                raise

    def _tracer(self) -> Tracer:
        if self._provider is None:
            self._provider = _provider(self._settings)
        tracer: Tracer = self._provider.get_tracer("vocal-remover")
        return tracer


def _provider(settings: Observe) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.traces_share)),
        resource=Resource.create({"service.name": "vocal-remover"}),
    )
    exporter = OTLPSpanExporter(settings.traces_url, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_SECONDS * 1000))
    return provider


def _theirs(scope: Mapping[str, Any]) -> str | None:
    """The `traceparent` that came with a request, as version 00; None where it is none, or there are several."""
    sent = [value.decode("latin-1").strip(" \t") for name, value in scope["headers"] if name == b"traceparent"]
    found = _TRACEPARENT.fullmatch(sent[0]) if len(sent) == 1 else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[3]) or _NOBODY.match(found[2]):
        return None
    return f"00-{found[2]}"


def _context(traceparent: str | None) -> Any:
    """With that span in it; an empty one where there is none, or it is none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _links(traceparent: str | None) -> tuple[Link, ...]:
    from opentelemetry.trace import Link, get_current_span

    told = get_current_span(_context(traceparent)).get_span_context()
    return (Link(told),) if told.is_valid else ()


def _named(facts: Mapping[str, Worth]) -> dict[str, Worth]:
    return {f"vr.{name}": value for name, value in facts.items()}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
