import { appendFileSync } from "node:fs";

/** Stands in for the client of a broker, whose connection takes a while. */
export class Producer {
  constructor(readonly options: { clientId: string; brokers: string[] }) {}

  async connect(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 300));
  }

  async send({ topic, key, value }: { topic: string; key: string; value: string }): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 2));
    appendFileSync(process.env.SINK as string, `${JSON.stringify({ ...this.options, topic, key, value: JSON.parse(value) })}\n`);
  }
}
