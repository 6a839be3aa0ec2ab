import type { HTTPHeaders, RPCConfig } from "@rockstat/rock-me-ts";

export interface CollectorConfig {
  rpc: RPCConfig;
  version: string;
  http: { host: string; port: number; secret: string; redirects: { [name: string]: string } };
  client: { domain: string | null; expires: number };
}

export interface IncomingMessage {
  key: string;
  channel: string;
  service: string;
  name: string;
  uid: string;
  id: string;
  time: number;
  td: { ip: string; ua: string };
  data: { [field: string]: any };
}

export interface HttpAnswer {
  status: number;
  headers: HTTPHeaders;
  body: string;
}
