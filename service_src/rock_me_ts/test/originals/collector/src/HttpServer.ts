import { createServer, type Server } from "node:http";
import { IN_GENERIC } from "@app/constants";
import { Dispatcher } from "@app/Dispatcher";
import type { CollectorConfig, HttpAnswer } from "@app/types";
import { AppConfig, type BandResponse, type HTTPHeader, Logger, RESP_DATA, RESP_ERROR, RESP_PIXEL, RESP_REDIRECT } from "@rockstat/rock-me-ts";
import { Container, Service } from "typedi";

@Service()
export class HttpServer {
  private readonly log: Logger = Container.get(Logger).for(this);
  private readonly config = Container.get<AppConfig<CollectorConfig>>(AppConfig);
  private readonly dispatcher = Container.get(Dispatcher);
  private server: Server;

  start(): void {
    const { host, port } = this.config.config.http;
    this.server = createServer(async (request, answer) => {
      const url = new URL(request.url || "/", "http://localhost");
      const [, service, name] = url.pathname.split("/");
      const { uid = "", ...data } = Object.fromEntries(url.searchParams);
      const td = { ip: "2.125.160.216", ua: request.headers["user-agent"] || "" };
      const key = [IN_GENERIC, service, name].join(".");
      const found = await this.dispatcher.dispatch({ key, channel: "http", service, name, uid, id: "", time: 0, td, data });
      const { status, headers, body } = this.render(found);
      for (const [header, value] of headers) answer.setHeader(header, value);
      answer.writeHead(status).end(body);
    });
    this.server.listen(port, host, () => this.log.info(`Listening on ${host}:${port}`));
  }

  private render(found: BandResponse): HttpAnswer {
    const { statusCode: status } = found;
    const headers: HTTPHeader[] = [...found.headers, ["X-Expires", String(this.config.client.expires)]];
    switch (found.type__) {
      case RESP_DATA:
        return { status, headers, body: JSON.stringify(found.data) };
      case RESP_REDIRECT:
        return { status, headers: [...headers, ["Location", found.location]], body: "" };
      case RESP_PIXEL:
        return { status, headers, body: "pixel" };
      case RESP_ERROR:
        return { status, headers, body: found.errorMessage };
    }
  }
}
