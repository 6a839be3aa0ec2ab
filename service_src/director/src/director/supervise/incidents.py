"""Records, logs and reports that a service crashed too often, was rolled back, or recovered."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from band import logger
from director.deploy.interface import Deployer
from director.engine.interface import Container, Engine
from director.state.crash_log import CrashLog, CrashLoop, CrashRecord, RollbackRecord
from director.state.desired import DesiredService
from director.state.history import Release
from director.webhook import Webhook


@dataclass(eq=False)
class Incidents:
    """Writes the crash log; the caller holds the service's lock."""

    engine: Engine
    crashes: CrashLog
    deployer: Deployer
    webhook: Webhook

    async def crashed(self, service: str, container: Container | None, wanted: DesiredService, reason: str) -> None:
        """Mark a service as crashed: its container is no longer restarted, and is kept for inspection."""
        lines = self.crashes.forget_output(service)
        if container is not None:
            await self.engine.stop(container.id, container.stop_timeout)  # also ends the engine's own restarts
            lines = await self.deployer.last_lines(container.id, wanted)
        record = self.crashes.of(service)
        last = next((end for end in reversed(record.ends) if end.kind == "crash"), None)
        # The engine may report an exit before its cause; a later inspection has it.
        out_of_memory = bool(container and not container.alive and container.oom_killed)
        crash = CrashLoop(
            reason=reason,
            exit_code=last.exit_code if last else None,
            oom_killed=out_of_memory or bool(last and last.oom_killed),
            at=time.time(),
            last_lines=lines,
        )
        self.crashes.put(service, msgspec.structs.replace(record, crash=crash, tried_at=0.0))
        await self.crashes.save()  # before the report: otherwise a director that dies here would report it twice
        facts = {"reason": reason, "exit_code": crash.exit_code, "oom_killed": crash.oom_killed}
        logger.error("service_crashed", service=service, **facts)
        self.webhook.tell("service_crashed", service, **facts)

    async def rolled_back(self, service: str, source: Release | None, target: Release, reason: str) -> None:
        """Record an automatic rollback; the earlier release starts with a clean record."""
        ids = {"from": source.id if source else "", "to": target.id}
        found = RollbackRecord(at=time.time(), source=ids["from"], target=ids["to"], reason=reason)
        self.crashes.put(service, CrashRecord(rolled_back=found))
        await self.crashes.save()
        self.webhook.tell("service_rolled_back", service, reason=reason, **ids)

    def tried(self, service: str, at: float) -> None:
        self.crashes.put(service, msgspec.structs.replace(self.crashes.of(service), tried_at=at))

    def recovered(self, service: str, reason: str) -> None:
        record = self.crashes.of(service)
        self.crashes.put(service, CrashRecord(rolled_back=record.rolled_back))
        logger.info("service_recovered", service=service, reason=reason)
        self.webhook.tell("service_recovered", service, reason=reason)
