"""The front of one server: everything around the revisions that outlives each of them.

listener ─▶ HttpServer ─▶ hot routes | guard ─▶ routes of the current revision ─▶ its pool
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal

from dosirak.bundles.saved import SHELF
from dosirak.bundles.targets import PinnedTarget, TargetKind, pinned_target
from dosirak.errors import DosirakError
from dosirak.observe.access_log import AccessLog
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.opentelemetry import open_tracer
from dosirak.observe.traces import Tracer
from dosirak.serving.access import open_access
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.cost_memory import CostMemory
from dosirak.serving.descriptors import watch_descriptors
from dosirak.serving.forwarding import Begin
from dosirak.serving.fronts import Fronts
from dosirak.serving.hot_routes import HotAccount, hot_routes
from dosirak.serving.http.application import served_routes
from dosirak.serving.http.guard import Guard
from dosirak.serving.http_server import IDLE_S, HttpServer
from dosirak.serving.machine import this_machine
from dosirak.serving.messages import Start
from dosirak.serving.places import unknown_variables, variable_of
from dosirak.serving.plan import Event, Reloaded, ServePlan, Serving
from dosirak.serving.pool import Pool
from dosirak.serving.quarantine import Quarantine
from dosirak.serving.reloads import Served
from dosirak.serving.revisions import Revision, RevisionMaking, Revisions
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.watching import Watch
from dosirak.serving.worker_shares import ServiceNeeds
from dosirak.serving.worker_start import WorkerStarter
from dosirak.store import Store

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


class Front:
    """One server.

    Args:
        plan: what it was asked for.
        log_style: how its workers log.
        access_log: told of every request, when there is one.
    """

    def __init__(
        self,
        plan: ServePlan,
        *,
        log_style: Literal["text", "json"],
        access_log: AccessLog | None,
    ) -> None:
        self._plan = plan
        self._log_style: Literal["text", "json"] = log_style
        self._access_log = access_log
        self._store = Store(plan.settings.home / "store")
        self._costs = CostMemory(plan.settings.home / "state" / "costs")
        self._metrics = ServingMetrics(service="")
        self._tracer: Tracer | None = None
        self._guard: Guard | None = None
        self._server: HttpServer | None = None
        self._fronts: Fronts | None = None
        self.revisions = Revisions(
            plan.target,
            RevisionMaking(
                pin=self._pin,
                hire=self._hire,
                furnish=self._furnish,
            ),
            show=self._show,
            report=self._tell,
            start_timeout_s=plan.start_timeout_s,
            drain_timeout_s=plan.drain_timeout_s,
        )

    def make_server(self) -> HttpServer:
        """Return the server for the listener; the first revision has started."""
        current = self.revisions.current
        options = self._plan.options
        # Looked after by the server's sweeps; the guard sees the same.
        access = open_access(options.access_file)
        self._guard = Guard(
            current.http,
            options=options,
            metrics=self._metrics,
            access_log=self._access_log,
            tracer=self._tracer,
            access=access,
        )
        self._server = HttpServer(
            self._guard,
            current.hot,
            options,
            self._plan.tls,
            http2=self._plan.http2,
            access=access,
        )
        self._metrics.workers_ready(lambda: self.revisions.current.pool.ready_workers)
        return self._server

    def make_fronts(self, server: HttpServer, listeners: Sequence[socket.socket]) -> Fronts:
        """Return what accepts on other listeners of the port."""
        self._fronts = Fronts(server, listeners, self._begin_of_acceptors)
        return self._fronts

    def _begin_of_acceptors(self) -> Begin:
        plan = self._plan
        return Begin(
            options=plan.options,
            idle_s=IDLE_S,
            log_style=self._log_style,
            tls=plan.tls_files.named(),
            http2=plan.http2,
            paths=_paths_of(self.revisions.current),
        )

    def close(self) -> None:
        """Send the spans that are waiting."""
        if self._tracer is not None:
            self._tracer.close()

    def introduction(self, url: str) -> Serving:
        """Say what is served where."""
        current = self.revisions.current
        return Serving(
            url,
            current.description.name,
            tuple(api.route for api in current.description.apis),
            current.pool.pids,
            current.served.identity.revision,
            self._watch().names() if self._plan.watches_store else (),
        )

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """Return what is to run while the server serves."""
        watch = self._watch()
        running: list[Coroutine[Any, Any, None]] = [watch_descriptors()]
        if self._plan.watches_store:
            running.append(watch.follow_store())
        if self._plan.watches_files:
            running.append(watch.follow_files())
        return running

    def _watch(self) -> Watch:
        return Watch(self.revisions, self._store)

    def _show(self, revision: Revision) -> None:
        """Lead requests to a revision: its routes, schemas, page and workers at once."""
        served = revision.served
        name = revision.description.name
        self._metrics.revision_serves(served.identity.revision, served.target, name)
        if self._guard is not None and self._server is not None:
            self._guard.serve(revision.http)
            self._server.hot.serve(revision.hot)
        if self._fronts is not None:
            self._fronts.show(_paths_of(revision))

    def _tell(self, event: Event) -> None:
        if isinstance(event, Reloaded):
            self._metrics.reload_ended(event.outcome)
        self._plan.report(event)

    def _pin(self, target: str, kind: TargetKind | None) -> PinnedTarget:
        return pinned_target(target, store=self._store, kind=kind)

    def _hire(self, pinned: PinnedTarget) -> Pool:
        plan = self._plan
        start = Start(
            target=pinned.text,
            kind=pinned.kind,
            home=str(plan.settings.home),
            log_style=self._log_style,
            hang_grace_s=plan.hang_grace_s,
            timeout_s=plan.options.timeout_s,
            inference_log=plan.inference_log,
        )
        return Pool(
            start,
            workers=plan.workers,
            max_outstanding=plan.max_outstanding,
            memory=plan.memory,
            drain_timeout_s=plan.drain_timeout_s,
            # A new revision may have learned to live with what ended the workers of the old.
            quarantine=Quarantine(after=plan.quarantine_after, ttl_s=plan.quarantine_s),
            starter=WorkerStarter(
                dataclasses.replace(this_machine(), open_files=plan.open_files),
                plan.worker_options,
                workers=plan.workers,
                expected=self._expected_needs(pinned),
            ),
        )

    def _expected_needs(self, pinned: PinnedTarget) -> ServiceNeeds | None:
        """Return what a bundle's manifest says that its service asks for."""
        if pinned.kind != "bundles":
            return None
        try:
            asked = SHELF.get(pinned.text, store=self._store).manifest.resources
        except DosirakError:
            return None  # What is wrong with it is said when it is opened.
        return ServiceNeeds("", asked.workers, asked.cpu, asked.gpu, asked.memory_bytes)

    def _furnish(self, served: Served, description: ServiceDescription, pool: Pool) -> Revision:
        options, metrics = self._plan.options, self._metrics
        revision = served.identity.revision
        if self._server is None:
            _say_where(description, os.environ)
            if self._plan.tasks.store_url and not _has_tasks(description):
                _log.warning(
                    "--task-store (DOSIRAK_TASK_STORE) is not used: %s has no tasks.",
                    description.name,
                )
        pool.report_to(metrics)
        pool.teach(self._costs.recall(revision))
        if self._server is None:
            # With the first revision: its name is what traces are found by from then on.
            self._tracer = open_tracer(description.name, os.environ)
        scheme = "http" if self._plan.tls is None else "https"
        account = HotAccount(
            metrics,
            self._access_log,
            revision,
            self._tracer,
            scheme,
            behind_proxy=options.behind_proxy,
        )
        pool.on_batch(account.take_batch)
        tasks = self._task_queue(pool, description)
        http = served_routes(
            description,
            pool,
            options=options,
            metrics=metrics,
            tasks=tasks,
            reloads=self.revisions,
            revision=revision,
        )
        hot = hot_routes(description, pool, account, timeout_s=options.timeout_s)
        return Revision(served, description, pool, http, hot, tasks, self._costs)

    def _task_queue(self, pool: Pool, description: ServiceDescription) -> TaskQueue | None:
        if not _has_tasks(description):
            return None
        plan = self._plan.tasks
        concurrency = max(1, (self._plan.workers or description.workers) * description.threads)
        return TaskQueue(
            plan.store(self._plan.settings.home, description.name),
            pool,
            description,
            self._metrics,
            concurrency=concurrency,
            webhooks=plan.webhooks,
        )


def _has_tasks(description: ServiceDescription) -> bool:
    return any(api.kind == "task" for api in description.apis)


def _say_where(description: ServiceDescription, environment: Mapping[str, str]) -> None:
    """Say where the services below run, and what of the environment says it of none of them."""
    places = description.places
    if places:
        said = ", ".join(f"{name} {place}" for name, place in places.items())
        _log.info("%s depends on: %s.", description.name, said)
    for name in unknown_variables(places, environment):
        known = ", ".join(map(variable_of, places)) or "none"
        _log.warning(
            "%s names no service that %s depends on; known: %s.", name, description.name, known
        )


def _paths_of(revision: Revision) -> tuple[str, ...]:
    return tuple(path.decode("latin-1") for path in revision.hot)
