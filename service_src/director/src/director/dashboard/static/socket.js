// A WebSocket that comes back by itself: 0.5, 1, 2 … 15 seconds, with some chance in it, at once when the tab is looked at.

const FIRST = 500;
const LONGEST = 15000;
const TOO_SLOW = 1013;

export class Socket {
  constructor(path, { message, state = () => {} }) {
    this.path = path;
    this.onMessage = message;
    this.onState = state;
    this.wait = FIRST;
    this.timer = 0;
    this.socket = null;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.timer) this.open();
    });
    addEventListener("online", () => this.timer && this.open());
    this.open();
  }

  // Another address: what is open now is closed.
  move(path) {
    this.path = path;
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.drop();
    const url = new URL(this.path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.addEventListener("open", () => {
      this.wait = FIRST;
      this.onState("live");
    });
    socket.addEventListener("message", (event) => this.onMessage(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.onState(event.code === TOO_SLOW ? "slow" : "away");
      this.timer = setTimeout(() => this.open(), this.wait * (0.5 + Math.random() / 2));
      this.wait = Math.min(LONGEST, this.wait * 2);
    });
  }

  drop() {
    const before = this.socket;
    this.socket = null;
    before?.close();
  }
}
