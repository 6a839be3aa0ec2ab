#!/usr/bin/env node
/** `rockme check`: the health check of images. */

import { METHOD_STATUS } from "./constants";
import { Service } from "./service/service";
import { readConfig, readEnvironment, readFiles } from "./service/settings";

const CHECK_TIMEOUT = 3000;

async function main(): Promise<number> {
  if (process.argv[2] !== "check") {
    process.stderr.write(
      "Usage: rockme check    checks the service of this folder on its port, or over Redis if it has none; exits with 0 if it is healthy, otherwise 1\n",
    );
    return 2;
  }
  process.env.LOG_LEVEL = "fatal";
  const env = readEnvironment(process.cwd());
  const config = readConfig(readFiles(process.cwd(), env), env);
  const answer = (await askPort(config.port)) ?? (await askRedis(config));
  process.stdout.write(`${answer.text}\n`);
  return answer.well ? 0 : 1;
}

/** Asks `/health`; null where nobody listens on the port, or has no such page. */
async function askPort(port: number): Promise<{ text: string; well: boolean } | null> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(CHECK_TIMEOUT) });
    const text = await response.text();
    return text.includes('"checks"') ? { text, well: response.ok } : null;
  } catch (error) {
    return (error as Error).name === "TimeoutError" ? { text: `no answer on port ${port} within ${CHECK_TIMEOUT / 1000} s`, well: false } : null;
  }
}

async function askRedis(config: ReturnType<typeof readConfig>): Promise<{ text: string; well: boolean }> {
  const caller = new Service();
  await caller.start({ ...config, name: `band-call-${process.pid}`, stopTimeout: 500, serviceGroup: "" }, { port: false });
  try {
    const found = await caller.rpc.call(config.name, METHOD_STATUS, {}, { timeout: CHECK_TIMEOUT });
    const health = (found?.data ?? found)?.health ?? { status: "ok" };
    return { text: JSON.stringify(health), well: health.status !== "failing" };
  } catch (error) {
    return { text: (error as Error).message, well: false };
  } finally {
    await caller.stop();
  }
}

main().then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`rockme: ${error.message}\n`);
    process.exit(1);
  },
);
