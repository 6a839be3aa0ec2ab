import { STATUS_RUNNING } from "../constants";
import type { RPCAppStatus } from "./types";

/** Answers `__status` with how long the process runs. */
export class AppStatus {
  private readonly begun = Date.now();

  get = (_params?: any): RPCAppStatus & { methods: any[] } => ({
    app_state: STATUS_RUNNING,
    app_started: this.begun,
    app_uptime: Date.now() - this.begun,
    methods: [],
  });
}
