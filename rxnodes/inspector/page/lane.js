// The last minute of a connection: its state as a band, and its messages above (in) and below (out).
// Everything is drawn at its own time, in seconds. Time moves on by another viewBox.

export const SPAN = 60;
const KEPT = SPAN + 5; // Seconds.
const MOST = 500; // Beyond that many in a minute, nobody can tell them apart.

const SVG = "http://www.w3.org/2000/svg";
const AHEAD = 1e7; // A state lasts until the next one, which is not known yet.
const STATE_AFTER = {
  Connecting: "connecting", Opened: "open", Dropped: "reconnecting", Closing: "closing", Stopped: "closed",
};
const began = Date.now() / 1000; // Numbers near zero, because an SVG's are only 32 bits wide.

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export class Lane {
  #bands = []; // Each with its time and the class of its state.
  #marks = []; // The ends and errors, each with its time.
  #counts = []; // Messages a second, in and out, each with its time.
  #isDrawn = true;

  constructor(svg) {
    this.svg = svg;
    [this.bands, this.received, this.sent, this.marks] = svg.children;
  }

  clear() {
    this.#bands = [];
    this.#marks = [];
    this.#counts = [];
    this.#isDrawn = false;
  }

  // The state before the first event.
  begin(at, state) {
    if (!this.#bands.length) this.#bands.push([at, state]);
    this.#isDrawn = false;
  }

  take(event) {
    const state = STATE_AFTER[event.event];
    if (state) this.#bands.push([event.at, event.error ? "failed" : state]);
    if (event.event === "ErrorEvent") this.#marks.push([event.at, "error"]);
    if (event.event === "Stopped" || event.event === "Dropped") this.#marks.push([event.at, "end"]);
    this.#forget(event.at);
  }

  count(at, received, sent) {
    this.#counts.push([at, received, sent]);
    this.#forget(at);
  }

  // Also while it is out of sight, because a page may be open for days.
  #forget(now) {
    for (const list of [this.#bands, this.#marks, this.#counts]) {
      // A band lasts until the next one.
      const next = list === this.#bands ? 1 : 0;
      while (list.length > MOST || list[next]?.[0] < now - KEPT) list.shift();
    }
    this.#isDrawn = false;
  }

  show(now) {
    if (!this.#isDrawn) this.#draw(now);
    this.svg.setAttribute("viewBox", `${(now - SPAN - began).toFixed(2)} 0 ${SPAN} 44`);
  }

  #draw(now) {
    this.#forget(now);
    this.bands.replaceChildren(...this.#bands.map(([at, state], index) => {
      const begin = Math.max(at, now - KEPT);
      const end = this.#bands[index + 1]?.[0] ?? now + AHEAD;
      // The page is about the stretch from a stop to its end, which is the highest.
      const height = state === "closing" ? 16 : state === "idle" || state === "closed" ? 2 : 10;
      return make("rect", {
        class: state, x: begin - began, width: Math.max(end - begin, 0.15), y: 22 - height / 2, height,
      });
    }));
    this.marks.replaceChildren(...this.#marks.map(([at, kind]) =>
      make("line", { class: kind, x1: at - began, x2: at - began, y1: 10, y2: 34 })));
    this.received.setAttribute("d", this.#bars(1, 13, -1));
    this.sent.setAttribute("d", this.#bars(2, 31, 1));
    this.#isDrawn = true;
  }

  // One bar for each second, as high as the number has digits.
  #bars(which, base, direction) {
    return this.#counts.filter((count) => count[which]).map((count) => {
      const height = direction * Math.min(13, 3 + 2.6 * Math.log10(count[which]));
      return `M${(count[0] - began - 1).toFixed(2)} ${base}v${height.toFixed(1)}h.9v${(-height).toFixed(1)}z`;
    }).join("");
  }
}
