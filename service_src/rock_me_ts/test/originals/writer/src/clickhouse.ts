import type { ClickHouseConfig } from "@app/index";
import type { LoggerType, MeterFacade } from "@rockstat/rock-me-ts";

/** Gathers rows and uploads them by the clock. */
export class ClickHouse {
  private readonly log: LoggerType;
  private rows: { [table: string]: string[] } = {};

  constructor(
    private readonly options: ClickHouseConfig,
    log: LoggerType,
    private readonly meter: MeterFacade,
  ) {
    this.log = log.for(this);
  }

  async init(): Promise<void> {
    await this.ask("SELECT name FROM system.tables FORMAT JSON");
    for (const [table, columns] of Object.entries(this.options.tables)) {
      const list = Object.entries(columns).map(([column, type]) => `${column} ${type}`);
      await this.ask(`CREATE TABLE IF NOT EXISTS ${table} (${list.join(", ")}) ENGINE = MergeTree ORDER BY id`);
    }
    setInterval(() => this.upload(), this.options.uploadInterval * 1000);
  }

  write = (table: string, { id, time, name }: { [field: string]: any }): void => {
    const date = new Date(time).toISOString().substring(0, 10);
    this.rows[table] = [...(this.rows[table] || []), JSON.stringify({ id, date, name })];
  };

  private async upload(): Promise<void> {
    const rows = this.rows;
    this.rows = {};
    for (const [table, lines] of Object.entries(rows)) {
      const note = this.meter.timenote("ch.upload");
      try {
        await this.ask(`INSERT INTO ${table} FORMAT JSONEachRow\n${lines.join("\n")}`);
        this.meter.tick("ch.upload.ok");
      } catch (error) {
        this.meter.tick("ch.upload.error");
        this.log.error("upload failed", error);
      }
      note();
    }
  }

  private async ask(body: string): Promise<string> {
    const answer = await fetch(this.options.dsn, { method: "POST", body });
    if (!answer.ok) throw new Error(`ClickHouse answered ${answer.status}`);
    return answer.text();
  }
}
