// The calls that Segment's and RudderStack's libraries for Node share, and how many of them were reported as delivered.
"use strict";

const user = { userId: "u-1" };

exports.Calls = class {
  expected = 0;
  delivered = 0;
  failed = 0;

  done = (error) => {
    if (error) {
      this.failed += 1;
      console.error(error);
    } else this.delivered += 1;
  };

  /** Makes every call once, or `many` calls in some seconds. */
  async make(analytics, many) {
    if (many) return this.track(analytics, Number(many));
    analytics.identify({ ...user, traits: { plan: "pro" } }, this.done);
    analytics.track({ ...user, event: "Order Completed", properties: { total: 12.5 }, timestamp: new Date(Date.now() - 60_000) }, this.done);
    analytics.page({ anonymousId: "a-1", name: "Home", category: "Docs", properties: { url: "https://shop.example/?a=1", title: "Shop" } }, this.done);
    analytics.screen({ ...user, name: "Settings" }, this.done);
    analytics.group({ ...user, groupId: "g-1", traits: { seats: 3 } }, this.done);
    analytics.alias({ ...user, previousId: "a-1" }, this.done);
    this.expected = 6;
  }

  async track(analytics, count) {
    for (let n = 0; n < count; n += 1) {
      analytics.track({ ...user, event: "many", properties: { n } }, this.done);
      if (n % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.expected = count;
  }

  /** Ends the process; with 1 unless all calls were delivered. */
  exit() {
    console.log(`delivered ${this.delivered}, failed ${this.failed}`);
    process.exit(this.failed === 0 && this.delivered === this.expected ? 0 : 1);
  }
};
