/** The schemas of what a service offers, where its Standard Schemas can be written as JSON Schema: for `__status` and as OpenAPI 3.1. */

import type { StandardSchema } from "../types";
import { version } from "../version";
import { logger } from "./logs";
import type { Exposed, Registry } from "./registry";

type JsonSchema = Record<string, any>;

/** What is known of a function. */
interface Facts {
  description: string;
  role: string | null;
  params?: JsonSchema;
  /** Of a listener that reads the `data` of events by a schema. */
  event?: JsonSchema;
}

/** The fields of an event beside its `data`, as Python describes them. */
const EVENT: JsonSchema = {
  key: { type: "string" },
  id: { type: "string" },
  time: { type: "integer" },
  service: { type: "string", default: "" },
  name: { type: "string", default: "" },
  channel: { type: "string", default: "" },
  uid: { anyOf: [{ type: "string" }, { type: "integer" }, { type: "null" }], default: null },
  td: { type: "object", default: {} },
  projectId: { anyOf: [{ type: "integer" }, { type: "number" }, { type: "string" }, { type: "null" }], default: null },
  project: { anyOf: [{ type: "string" }, { type: "integer" }, { type: "null" }], default: null },
  privacy: { type: "array", items: { type: "string" }, default: [] },
};

const REF = "#/components/schemas/";
const ERROR: JsonSchema = {
  title: "Error",
  type: "object",
  properties: {
    message: { type: "string", description: "what is wrong" },
    path: { type: "string", description: "the parameter that was refused, `$.limit`" },
  },
  required: ["message"],
};
const REFUSALS: Record<number, string> = {
  400: "the parameters cannot be read",
  403: "requests from pages of other sites are refused",
  413: "the body is too large",
  422: "a parameter is missing, or its value is refused",
  500: "the function failed",
  502: "another service did not answer",
};
const FLAT = new Set(["string", "integer", "number", "boolean", "null"]);

/** Returns the schemas of a service's functions as `__status` has them; references begin with `#/components/schemas/`. */
export function schemas(registry: Registry): { methods: Record<string, Facts>; components: Record<string, JsonSchema> } {
  const components: Record<string, JsonSchema> = {};
  return { methods: Object.fromEntries(open(registry).map((exposed) => [exposed.name, describe(exposed, components)])), components };
}

/** Returns the OpenAPI document of a service's own port. */
export function document(name: string, registry: Registry): JsonSchema {
  const functions = open(registry).filter(({ path }) => path && !path.includes("*"));
  const components: Record<string, JsonSchema> = {};
  const paths = Object.fromEntries(functions.map((exposed) => [exposed.path, operations(exposed.name, describe(exposed, components), components)]));
  return {
    openapi: "3.1.0",
    info: { title: name, version, description: `What the service ${name} offers on its own port.` },
    paths: { ...paths, "/health": HEALTH },
    components: { schemas: { ...components, "band.Error": ERROR } },
  };
}

function open(registry: Registry): Exposed[] {
  return [...registry.methods.values()].filter(({ name }) => !name.startsWith("__"));
}

function describe(exposed: Exposed, components: Record<string, JsonSchema>): Facts {
  const params = toJsonSchema(exposed.name, exposed.params, components);
  const data = toJsonSchema(`${exposed.name}.data`, exposed.data, components);
  const event = data && { title: "Event", type: "object", properties: { ...EVENT, data }, required: ["key", "id", "time", "data"] };
  return { description: exposed.description ?? "", role: exposed.role ?? null, ...(params ? { params } : {}), ...(event ? { event } : {}) };
}

/** Returns what a function takes as JSON Schema; undefined where its schema's library offers none. What it refers to becomes a component. */
function toJsonSchema(name: string, schema: StandardSchema | undefined, components: Record<string, JsonSchema>): JsonSchema | undefined {
  const convert = schema?.["~standard"].jsonSchema?.input;
  if (!convert) return undefined;
  try {
    const { $schema: _dialect, $defs = {}, ...written } = convert({ target: "draft-2020-12" }) as JsonSchema;
    const moved: Record<string, JsonSchema> = Object.fromEntries(Object.entries($defs).map(([key, one]) => [`${name}.${key}`, moveRefs(one, name)]));
    const found = moveRefs(written, name);
    if (JSON.stringify(found).includes(`"${REF}${name}"`)) moved[name] = found;
    Object.assign(components, moved);
    return found;
  } catch (error) {
    logger.debug({ method: name, reason: String(error) }, "schema_not_written"); // it can still be called: not all types are JSON's
    return undefined;
  }
}

/** Returns a schema whose references lead to components; one to the whole of it leads to the component `name`. */
function moveRefs(value: any, name: string): any {
  if (Array.isArray(value)) return value.map((item) => moveRefs(item, name));
  if (typeof value !== "object" || value === null) return value;
  const rename = (ref: string) => (ref === "#" ? REF + name : ref.replace(/^#\/\$defs\//, `${REF}${name}.`));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === "$ref" ? rename(String(item)) : moveRefs(item, name)]));
}

/** GET where all that is required fits into a query, and POST. */
function operations(name: string, { event, params = event, description, role }: Facts, components: Record<string, JsonSchema>): JsonSchema {
  const { properties = {}, required = [] } = (params ? resolved(params, components) : {}) as { properties?: Record<string, JsonSchema>; required?: string[] };
  const flat = Object.entries(properties).filter(([, schema]) => isFlat(schema, components));
  const common = {
    summary: description.split("\n", 1)[0] || name,
    ...(role ? { tags: [role] } : {}),
    responses: {
      200: json("what the function returned", {}),
      ...Object.fromEntries(Object.entries(REFUSALS).map(([status, text]) => [status, json(text, { $ref: `${REF}band.Error` })])),
    },
  };
  const post = {
    ...common,
    operationId: `${name}_post`,
    parameters: [],
    requestBody: { required: required.length > 0, content: { "application/json": { schema: params ?? { type: "object" } } } },
  };
  if (required.some((field) => !flat.some(([key]) => key === field))) return { post };
  const parameters = flat.map(([key, schema]) => ({ name: key, in: "query", required: required.includes(key), schema }));
  return { get: { ...common, operationId: name, parameters }, post };
}

function resolved(schema: JsonSchema, components: Record<string, JsonSchema>): JsonSchema {
  return typeof schema.$ref === "string" ? (components[schema.$ref.slice(REF.length)] ?? {}) : schema;
}

/** Tells whether a value of a schema can stand in a query: no object, and no list of objects. */
function isFlat(given: JsonSchema, components: Record<string, JsonSchema>): boolean {
  const schema = resolved(given, components);
  if (Array.isArray(schema.anyOf)) return schema.anyOf.every((one) => isFlat(one, components));
  if (schema.type === "array") return isFlat(schema.items ?? {}, components);
  return FLAT.has(schema.type) || "enum" in schema || "const" in schema;
}

function json(description: string, schema: JsonSchema): JsonSchema {
  return { description, content: { "application/json": { schema } } };
}

const HEALTH = {
  get: {
    summary: "Health of the service.",
    operationId: "health",
    responses: Object.fromEntries(
      Object.entries({ 200: "it works, or is degraded", 503: "it is failing" }).map(([status, text]) => [
        status,
        json(text, { type: "object", properties: { status: { enum: ["ok", "degraded", "failing"] } } }),
      ]),
    ),
  },
};
