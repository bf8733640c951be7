// The stream of server-sent events, for as long as the page is open.

const RETRY_MS = 2000;

/** Calls `on[name](data)` for each message of the stream; `on.lost()` when it breaks. */
export function follow(on) {
  const source = new EventSource("events");
  for (const name of ["history", "sample", "status", "event"]) {
    source.addEventListener(name, (message) => on[name](JSON.parse(message.data)));
  }
  source.onerror = () => {
    // The browser would try again by itself, but not after an answer that is an error.
    source.close();
    on.lost();
    setTimeout(() => follow(on), RETRY_MS);
  };
}
