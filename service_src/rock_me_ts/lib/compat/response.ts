/** Typed responses: what a handler returns when plain JSON is not enough. */

import { STATUS_CODES } from "node:http";
import type { BandDataResponseBuilder, BandErrorResponseBuilder, BandPixelResponseBuilder, BandRedirectResponseBuilder, BandResponse } from "./types";

export const RESP_TYPE_KEY = "type__";
export const RESP_DATA = "data";
export const RESP_ERROR = "error";
export const RESP_REDIRECT = "redirect";
export const RESP_PIXEL = "pixel";

export const STATUS_OK = 200;
export const STATUS_OK_NO_CONTENT = 204;
export const STATUS_PERSIST_REDIR = 301;
export const STATUS_TEMP_REDIR = 302;
export const STATUS_SEE_OTHERS_REDIR = 303;
export const STATUS_BAD_REQUEST = 400;
export const STATUS_NOT_FOUND = 404;
export const STATUS_TEAPOT = 418;
export const STATUS_INT_ERROR = 500;
export const STATUS_UNKNOWN = "Unknown Status";
/** The original's texts where it has one: visitors see them. */
export const STATUS_DESCRIPTIONS: { [code: number]: string } = {
  ...(STATUS_CODES as { [code: number]: string }),
  [STATUS_OK]: "Ok",
  [STATUS_PERSIST_REDIR]: "Temporary Redirect",
  [STATUS_TEMP_REDIR]: "Temporary Redirect",
  [STATUS_SEE_OTHERS_REDIR]: "See Others",
  [STATUS_TEAPOT]: "I'm a teapot",
  [STATUS_INT_ERROR]: "Internal Error",
};

const data: BandDataResponseBuilder = ({ data: given, statusCode = STATUS_OK, headers = [], contentType }) => ({
  type__: RESP_DATA,
  headers,
  statusCode,
  data: given ?? {},
  ...(contentType ? { contentType } : {}),
});

const error: BandErrorResponseBuilder = ({ errorMessage, statusCode = STATUS_INT_ERROR, headers = [] }) => ({
  type__: RESP_ERROR,
  headers,
  statusCode,
  errorMessage: errorMessage || STATUS_DESCRIPTIONS[statusCode] || STATUS_UNKNOWN,
});

const redirect: BandRedirectResponseBuilder = ({ location, statusCode = STATUS_TEMP_REDIR, headers = [] }) => ({
  type__: RESP_REDIRECT,
  headers,
  location,
  statusCode,
});

const pixel: BandPixelResponseBuilder = ({ statusCode = STATUS_OK, headers = [] } = {}) => ({ type__: RESP_PIXEL, headers, statusCode, type: "pixel" });

/** Makes typed responses; each takes one object. */
export const response: {
  data: BandDataResponseBuilder;
  error: BandErrorResponseBuilder;
  redirect: BandRedirectResponseBuilder;
  pixel: BandPixelResponseBuilder;
} = { data, error, redirect, pixel };

/** Tells whether a value is a typed response. */
export function isBandResponse(value: any): value is BandResponse {
  return typeof value === "object" && value !== null && typeof value[RESP_TYPE_KEY] === "string";
}
