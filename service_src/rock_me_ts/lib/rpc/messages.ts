/** The envelope: JSON-RPC 2.0 plus who it is from and to. */

export const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;
export const SERVER_ERROR = -32000;
export const OVERLOADED = -32005;

export const MESSAGES: Record<number, string> = {
  [PARSE_ERROR]: "Parse error",
  [INVALID_REQUEST]: "Invalid Request",
  [METHOD_NOT_FOUND]: "Method not found",
  [INVALID_PARAMS]: "Invalid params",
  [SERVER_ERROR]: "Server error",
  [OVERLOADED]: "Too many requests at once",
};

/** One message as it came: without `id` a notification, without `method` a reply. */
export interface Envelope {
  jsonrpc?: unknown;
  method?: unknown;
  params?: unknown;
  id?: unknown;
  from?: unknown;
  to?: unknown;
  result?: unknown;
  error?: unknown;
  service_group?: unknown;
}

export interface ErrorObject {
  code: number;
  message: string;
  data?: unknown;
}

/** Tells whether a message answers a request of ours. */
export function isReply(message: Envelope): boolean {
  return message.method === undefined && ("result" in message || "error" in message);
}

/** What is made of names is kept up to this many times: peers ask under the same few ones. */
const MAX_KEPT = 1024;

const addresses = new Map<string, string[]>();

/** Returns [to, method, from] of a request: `TO:METHOD:FROM` wins over the fields. */
export function addressOf(message: Envelope & { method: string }): readonly string[] {
  let parts = addresses.get(message.method);
  if (parts === undefined) {
    parts = message.method.split(":");
    if (addresses.size >= MAX_KEPT) addresses.clear();
    if (message.method.length <= MAX_KEPT) addresses.set(message.method, parts);
  }
  return parts.length === 3 ? parts : [text(message.to), message.method, text(message.from)];
}

function text(value: unknown): string {
  return value === undefined || value === null ? "" : String(value);
}

/** Returns the messages in a text: one, or those of a JSON-RPC batch. Throws SyntaxError where it is no JSON. */
export function decode(data: string): unknown[] {
  const value = parseLoosely(data);
  return Array.isArray(value) ? value : [value];
}

const LOOSE = /"(?:[^"\\]|\\.)*"|-?\bNaN\b|-?\bInfinity\b/g;

/** Returns the JSON in a text, also where Python wrote NaN or Infinity: those are read as null. */
export function parseLoosely(data: string): any {
  try {
    return JSON.parse(data);
  } catch (error) {
    if (!/NaN|Infinity/.test(data)) throw error;
    return JSON.parse(data.replace(LOOSE, (token) => (token[0] === '"' ? token : "null")));
  }
}

/** Returns JSON; undefined is null. Throws TypeError where a value cannot be written as JSON. */
export function toJson(value: unknown): string {
  return JSON.stringify(value) ?? "null";
}

const heads = new Map<string, [string, string]>();

/** Returns what stands before the params of a request and between them and the id: the same for every call. */
function requestParts(to: string, method: string, from: string): [string, string] {
  const key = `${to}:${method}:${from}`;
  let parts = heads.get(key);
  if (parts === undefined) {
    if (heads.size >= MAX_KEPT) heads.clear();
    parts = [`{"jsonrpc":"2.0","method":${JSON.stringify(key)},"params":`, `,"from":${JSON.stringify(from)},"to":${JSON.stringify(to)},"id":"`];
    heads.set(key, parts);
  }
  return parts;
}

/** Returns a request whose params are JSON already; `id` must need no escaping. */
export function request(to: string, method: string, from: string, params: string, id: string): string {
  const [head, middle] = requestParts(to, method, from);
  return `${head}${params}${middle}${id}"}`;
}

/** Returns a notification: a request that nobody answers. */
export function notification(to: string, method: string, from: string, params: unknown): string {
  return JSON.stringify({ jsonrpc: "2.0", method: `${to}:${method}:${from}`, params, from, to });
}

/** The end of the last answer and what it was made of: the next one mostly goes to the same peer. */
let last = { from: "", to: "", group: "", tail: "" };

function tailOf(from: string, to: string, group: string): string {
  if (last.to !== to || last.from !== from || last.group !== group || !last.tail) {
    const more = group ? `,"service_group":${JSON.stringify(group)}` : "";
    last = { from, to, group, tail: `,"from":${JSON.stringify(from)},"to":${JSON.stringify(to)}${more}}` };
  }
  return last.tail;
}

/** An id that is the same in JSON. */
const PLAIN_ID = /^[\w-]*$/;

/** Returns the answer to a request; `result` is JSON already. */
export function success(result: string, id: unknown, from: string, to: string, group = ""): string {
  const shown = typeof id === "string" && PLAIN_ID.test(id) ? `"${id}"` : JSON.stringify(id);
  return `{"jsonrpc":"2.0","result":${result},"id":${shown}${tailOf(from, to, group)}`;
}

/** Returns an error object; `detail` is text for the caller, never a stack or a secret; `path` is the parameter that was refused. */
export function errorObject(code: number, detail?: string, path = ""): ErrorObject {
  const error: ErrorObject = { code, message: MESSAGES[code] };
  if (detail) error.data = path ? { message: detail, path } : { message: detail };
  return error;
}

/** Returns the error answer to a request. */
export function failure(error: ErrorObject, id: unknown, from: string, to: string, group = ""): string {
  return JSON.stringify({ jsonrpc: "2.0", error, id, from, to, ...(group ? { service_group: group } : {}) });
}
