// What programs of pages share.

/** Load a classic script, as a snippet does. */
export const load = (src) =>
  new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = src;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${src} was not loaded`));
    document.head.append(script);
  });

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Make `count` calls in about `count / 200` seconds. */
export const inTime = async (count, call) => {
  for (let n = 0; n < count; n += 1) {
    call(n);
    if (n % 10 === 9) await pause(50);
  }
};

/** Wait until `ready()` is true, for at most a minute. */
export const until = async (ready, what) => {
  for (let n = 0; n < 600; n += 1) {
    if (await ready()) return;
    await pause(100);
  }
  throw new Error(`${what} took more than a minute`);
};
