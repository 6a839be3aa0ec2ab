/** The health of a service: its own checks, and the connection to Redis. */

import type { RedisLink } from "../redis/link";
import type { HealthFacts, HealthReport, HealthStatus } from "../types";
import { describe, mask, maskText } from "./logs";
import type { Registry } from "./registry";

const ORDER: HealthStatus[] = ["ok", "degraded", "failing"];
/** Milliseconds that one check may take. */
const CHECK_TIMEOUT = 2000;

type Facts = { status: HealthStatus; [fact: string]: unknown };

/** Returns what every part of a service says of itself, and the worst of it; never rejects. */
export async function readHealth(registry: Registry, link: RedisLink): Promise<HealthReport> {
  const checks: Record<string, Facts> = {};
  if (link.address)
    checks.redis = link.connected
      ? { status: "ok", reconnects: link.reconnects }
      : { status: "degraded", reason: maskText(link.lastError), reconnects: link.reconnects };
  for (const [name, check] of Object.entries(registry.frameworkChecks)) {
    const found = check();
    if (found !== null && found !== undefined) checks[name] = mask(factsOf(found)) as Facts;
  }
  for (const { name, func } of registry.healthChecks) checks[name] = mask(await run(func)) as Facts;
  const worst = Math.max(0, ...Object.values(checks).map((check) => ORDER.indexOf(check.status)));
  return { status: ORDER[worst], checks };
}

async function run(check: () => HealthFacts | Promise<HealthFacts>): Promise<Facts> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Facts>((resolve) => {
    timer = setTimeout(resolve, CHECK_TIMEOUT, { status: "failing", reason: `the check did not end within ${CHECK_TIMEOUT / 1000} s` });
  });
  try {
    return await Promise.race([Promise.resolve(check()).then(factsOf), late]);
  } catch (error) {
    return { status: "failing", reason: describe(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** Returns what a check found as facts: nothing and true are well, false fails, a text is its status. */
function factsOf(found: HealthFacts): Facts {
  if (found === undefined || found === null || found === true) return { status: "ok" };
  if (typeof found === "string" && ORDER.includes(found)) return { status: found };
  if (typeof found === "object") {
    const status = found.status ?? "ok";
    return ORDER.includes(status) ? { ...found, status } : { ...found, status: "failing", reason: `the status "${status}" is none of ${ORDER.join(", ")}` };
  }
  return { status: "failing", reason: `the check returned ${JSON.stringify(found)}, not { status: "ok" | "degraded" | "failing" }` };
}
