/** What a service offers: the functions registered by `expose`, `setup`, `worker`, `cleanup`, `health` and `crontab`. */

import { BATCH_BYTES, METHOD, ROLE_ENRICHER, ROLE_HANDLER, ROLE_LISTENER } from "../constants";
import { InvalidParams, RegistrationError } from "../errors";
import { groupStart } from "../events/positions";
import { choosing, guarded } from "../events/privacy";
import type {
  CallContext,
  EnricherOptions,
  Expose,
  HandlerOptions,
  HealthFacts,
  ListenerOptions,
  MethodOptions,
  SchemaIssue,
  StandardSchema,
  WorkContext,
} from "../types";

type Role = typeof ROLE_HANDLER | typeof ROLE_ENRICHER | typeof ROLE_LISTENER;

/** One function that can be called over RPC and, where it has a `path`, over the service's own HTTP port. */
export interface Exposed {
  name: string;
  func: (params: any, context: CallContext) => unknown;
  path: string;
  /** Its role, `method` without one; a label of metrics. */
  kind: string;
  role?: Role;
  options: Record<string, unknown>;
  description?: string;
  params?: StandardSchema;
  /** Of a listener: reads the `data` of events. */
  data?: StandardSchema;
  takesLists?: boolean;
  cacheVersion?: () => string;
  /** Of a listener: the suffix of its consumer group, `<service>.<group>`; empty for `<service>` alone. */
  group?: string;
  batch?: number;
  batchBytes?: number;
  linger?: number;
  inFlight?: number;
  maxAttempts?: number;
  /** Seconds, as all times of a listener. */
  backoff?: number;
  backoffMax?: number;
  timeout?: number;
  /** The id behind which a new group begins; `$`: now. */
  start?: string;
}

/** Without a dot: that is what divides it from the service's name. */
const GROUP = /^[a-z0-9][a-z0-9_-]{0,39}$/;

export interface Row {
  method: string;
  role: string;
  options: Record<string, unknown>;
}

export type Work = (context: WorkContext) => unknown;

export class Registry {
  readonly methods = new Map<string, Exposed>();
  readonly setups: Work[] = [];
  readonly workers: Work[] = [];
  readonly cleanups: Work[] = [];
  readonly crontabs: { pattern: string; func: Work }[] = [];
  readonly healthChecks: { name: string; func: () => HealthFacts | Promise<HealthFacts> }[] = [];
  /** The framework's own; each returns null while there is nothing to tell. */
  readonly frameworkChecks: Record<string, () => HealthFacts> = {};
  /** Whether the listeners consume already: one that registers now would get nothing. */
  listening = false;
  /** Rows that an operator adds by settings, for functions whose service registers none itself. */
  extraRows: Row[] = [];

  add(exposed: Exposed): void {
    this.methods.set(exposed.name, exposed);
  }

  /** Returns the registrations that are announced, in the order of recording. */
  rows(): Row[] {
    const own = [...this.methods.values()].filter((exposed) => exposed.role && !exposed.name.startsWith("__"));
    return [...own.map((exposed) => ({ method: exposed.name, role: exposed.role as string, options: optionsNow(exposed) })), ...this.extraRows];
  }

  withRole(role: Role): Exposed[] {
    return [...this.methods.values()].filter((exposed) => exposed.role === role);
  }
}

/** Returns the options of a row; while there is no version of the data, answers are not to be kept. */
function optionsNow({ options, cacheVersion }: Exposed): Record<string, unknown> {
  if (!cacheVersion || !options.cache) return options;
  const version = cacheVersion();
  if (version) return { ...options, cache: { ...(options.cache as object), version } };
  const { cache: _cache, ...rest } = options;
  return rest;
}

/** Calls an exposed function; a promise only where there is something to wait for. Throws InvalidParams, or what it throws. */
export function runExposed(exposed: Exposed, params: unknown, context: CallContext): unknown {
  const schema = exposed.params;
  if (schema) {
    const checked = schema["~standard"].validate(params);
    if (checked instanceof Promise) return checked.then((found) => finish(exposed.func(fitting(found), context)));
    return finish(exposed.func(fitting(checked), context));
  }
  return finish(exposed.func(params, context));
}

/** Returns what a schema made of the value at `place`. Throws InvalidParams where it does not fit. */
function fitting(found: { readonly value?: unknown; readonly issues?: ReadonlyArray<SchemaIssue> | undefined }, ...place: string[]): unknown {
  if (!found.issues) return found.value;
  const issues = found.issues.map(({ message, path = [] }) => ({ message, path: [...place, ...path] }));
  throw new InvalidParams(describeIssues(issues), { path: pathOf(issues[0]) });
}

/** Returns a listener function that is given events whose `data` a schema has read. */
function typed(func: Exposed["func"], data: StandardSchema, batch: boolean): Exposed["func"] {
  const read = async (event: any) => ({ ...event, data: fitting(await data["~standard"].validate(event?.data), "data") });
  return async (given, context) => func(batch && Array.isArray(given) ? await Promise.all(given.map(read)) : await read(given), context);
}

/** Returns where in the parameters the problem is: `$.rows[0].limit`. */
function pathOf({ path = [] }: SchemaIssue): string {
  const parts = path.map((part) => (typeof part === "object" ? part.key : part));
  return `$${parts.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("")}`;
}

/** Returns the problems that a schema found, each with its path. */
export function describeIssues(issues: ReadonlyArray<SchemaIssue>): string {
  return issues
    .map(({ path, message }) => {
      const place = (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
      return place ? `${place}: ${message}` : message;
    })
    .join("; ");
}

/** An async generator's items become a list. */
function finish(result: unknown): unknown {
  if (typeof result === "object" && result !== null && Symbol.asyncIterator in result) return collect(result as AsyncIterable<unknown>);
  return result;
}

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Returns the functions that record in `registry`. */
export function makeExpose(registry: Registry): Expose {
  const record = (given: unknown[], role: Role | undefined, fallback: string, choose: (options: any) => Record<string, unknown>) => {
    const { name, options, func } = read(given, fallback);
    registry.add({
      name,
      func,
      path: options.http === false ? "" : options.path || `/${name}`,
      kind: role ?? METHOD,
      role,
      options: withoutUndefined(choose(options)),
      description: options.description,
      params: (options as { params?: StandardSchema }).params,
      cacheVersion: (options as { cacheVersion?: () => string }).cacheVersion,
    });
    return registry.methods.get(name) as Exposed;
  };
  const expose = (...given: unknown[]) => void record(given, undefined, "", () => ({}));
  const handler = (...given: unknown[]) => void record(given, ROLE_HANDLER, "", ({ alias, timeout }: HandlerOptions) => ({ alias, timeout }));
  const enricher = (...given: unknown[]) => void record(["enrich", ...given], ROLE_ENRICHER, "", enricherOptions);
  const listener = (...given: unknown[]) => {
    const options = (typeof given[0] === "function" ? {} : given[0]) as ListenerOptions;
    const func = given[given.length - 1] as (...args: any[]) => unknown;
    const { group = "", keys } = options;
    if (keys !== undefined && !(Array.isArray(keys) && keys.every((key) => typeof key === "string"))) {
      throw new RegistrationError(`expose.listener({ keys: … }) takes a list of prefixes; write keys: ["in.gen.track"]`);
    }
    if (group && !GROUP.test(group)) {
      throw new RegistrationError(`The group "${group}" of a listener is not valid: it has 1 to 40 lower-case letters, digits, _ or -`);
    }
    const named = [options.name || group || func?.name || "broadcast", options, func];
    if (registry.listening) {
      throw new RegistrationError(`The listener "${named[0]}" registers after the start, so it would get no events; call expose.listener before start()`);
    }
    const other = registry.methods.get(String(named[0]));
    if (other?.role === ROLE_LISTENER && other.group !== group) {
      throw new RegistrationError(`"${other.name}" is already a listener of another group; give each listener its own \`name\``);
    }
    const exposed = record(named, ROLE_LISTENER, "broadcast", ({ personal }: ListenerOptions) => ({ personal }));
    const { batch = 0, batchBytes = BATCH_BYTES, linger = 0, inFlight = 1, personal, data } = options;
    if (data) exposed.func = typed(exposed.func, data, Boolean(batch));
    Object.assign(exposed, { group, data, batch, batchBytes, linger, inFlight: Math.max(1, inFlight), ...policyOf(options) });
    if (personal !== undefined) exposed.func = guarded(exposed.func, personal, Boolean(batch));
    if (keys?.length) exposed.func = choosing(exposed.func, keys, Boolean(batch));
  };
  return Object.assign(expose, { handler, enricher, listener }) as unknown as Expose;
}

function read(given: unknown[], fallback: string): { name: string; options: MethodOptions; func: Exposed["func"] } {
  const func = given[given.length - 1];
  const name = typeof given[0] === "string" ? given[0] : typeof func === "function" ? func.name || fallback : "";
  const options = (given.length > 1 && typeof given[given.length - 2] === "object" ? given[given.length - 2] : {}) as MethodOptions;
  if (typeof func !== "function") throw new RegistrationError(`${name || "It"} cannot be exposed: the last argument is not a function`);
  if (!name) throw new RegistrationError('An exposed function needs a name; write expose("name", …) or pass a named function');
  if (name.includes(":")) throw new RegistrationError(`A method's name has no colon, this one has: ${name}`);
  if (options.http === false && options.path) throw new RegistrationError(`A function with http: false has no path; leave out one of them at ${name}`);
  return { name, options, func: func as Exposed["func"] };
}

function enricherOptions({ keys, props, alias, cache }: EnricherOptions<Record<string, string>>): Record<string, unknown> {
  if (!keys?.length) {
    throw new RegistrationError('An enricher needs the keys of the events to enrich; write expose.enricher({ keys: ["in.gen.track"] }, …)');
  }
  if (cache !== undefined && (!props || !(cache > 0))) {
    throw new RegistrationError(
      'A cache needs props, and a time of more than 0 seconds; write expose.enricher({ keys: […], props: { ip: "td.ip" }, cache: 300 }, …)',
    );
  }
  return { keys: [...keys], props, alias, cache: cache === undefined ? undefined : { props: Object.keys(props ?? {}).sort(), ttl: cache } };
}

/** Returns what a listener's options say of attempts, and where it begins. Throws RegistrationError. */
function policyOf({ maxAttempts = 10, backoff = 0.5, backoffMax = 30, timeout = 0, start = "now" }: ListenerOptions): Partial<Exposed> {
  if (!(maxAttempts >= 1 && timeout >= 0 && backoff >= 0 && backoff <= backoffMax)) {
    throw new RegistrationError(
      `maxAttempts: ${maxAttempts}, backoff: ${backoff}, backoffMax: ${backoffMax}, timeout: ${timeout}: ` +
        "a listener has at least one attempt, 0 <= backoff <= backoffMax, and a timeout of 0 or more",
    );
  }
  try {
    return { maxAttempts, backoff, backoffMax, timeout, start: groupStart(start) };
  } catch (error) {
    throw new RegistrationError(`expose.listener({ start: … }): ${(error as Error).message}`);
  }
}

function withoutUndefined(options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
}
