// The live page. The program sends one stream of server-sent events. Only what has changed is touched, and of rows out
// of sight only their state. Whatever peers and settings say is shown as text.

import { Lane } from "./lane.js";
import { $, bytes, counted, say, seconds, shown, timeOfDay, told } from "./words.js";
import { forgetWorkers, holder, moveWorkers, takeWorkers } from "./workers.js";

const EVENTS_KEPT = 100;
const NUMBERS = ["messages_received", "bytes_received", "messages_sent", "bytes_sent", "unsent", "undelivered"];
const RATED = NUMBERS.slice(0, 4);

const rows = new Map(); // By the connection's name.
const visible = new Set(); // The rows that are on the screen.
const changes = new Map(); // The states that have not been announced yet, by name.
let offset = 0; // By how many seconds the program's clock is ahead of ours.
let mustSort = true;

const now = () => Date.now() / 1000 + offset;

// --- A row ---

class Row {
  constructor(data) {
    this.element = $("row").content.firstElementChild.cloneNode(true);
    this.part = (selector) => this.element.querySelector(selector);
    this.lane = new Lane(this.part(".lane"));
    this.lane.begin(data.since ?? now(), data.failed ? "failed" : data.state);
    this.details = this.part("details");
    this.details.addEventListener("toggle", () => this.showEvents());
    this.events = [];
    this.isCurrent = false;
    this.element.dataset.connection = data.name;
    say(this.part(".name"), data.name);
    for (const button of this.element.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${data.name}`);
    }
    this.part("summary").setAttribute("aria-label", `Events of ${data.name}`);
    sight.observe(this.element);
    this.update(data);
  }

  get inTrouble() {
    const { state, failed, attempt } = this.data;
    return failed || state === "reconnecting" || (state === "connecting" && attempt > 1);
  }

  update(data) {
    const was = this.data?.state;
    this.data = data;
    if (was !== data.state) {
      this.element.dataset.state = data.state;
      if (was) changes.set(data.name, data.state);
    }
    this.element.toggleAttribute("data-failed", data.failed);
    say(this.part(".state"), data.failed ? "ended with an error" : data.state);
    say(this.part(".reason"), shown(data.reason));
    const isLive = !["idle", "closed"].includes(data.state);
    this.part("[data-action=start]").setAttribute("aria-disabled", isLive && data.state !== "closing");
    this.part("[data-action=stop]").setAttribute("aria-disabled", !isLive || data.state === "closing");
    this.isCurrent = false;
    this.show();
  }

  count(numbers) {
    NUMBERS.forEach((name, index) => { this.data[name] = numbers[index]; });
    RATED.forEach((name, index) => { this.data.per_second[name] = numbers[NUMBERS.length + index]; });
    this.lane.count(now(), this.data.per_second.messages_received, this.data.per_second.messages_sent);
    this.isCurrent = false;
    this.show();
  }

  take(event) {
    this.events.unshift(event);
    this.events.length = Math.min(this.events.length, EVENTS_KEPT);
    this.lane.take(event);
    if (this.details.open) this.showEvents();
  }

  forget() {
    this.events = [];
    this.lane.clear();
    this.lane.begin(this.data.since ?? now(), this.data.failed ? "failed" : this.data.state);
  }

  // Shows what nobody sees out of the screen.
  show() {
    if (this.isCurrent || !visible.has(this)) return;
    this.isCurrent = true;
    const { session, attempt, latency, unsent, per_second: rates } = this.data;
    say(this.part(".session"), session ? `session ${session}, attempt ${attempt}` : "");
    say(this.part(".holder"), holder(this.data.name));
    for (const [side, messages, size] of [
      [".received", rates.messages_received, rates.bytes_received], [".sent", rates.messages_sent, rates.bytes_sent],
    ]) {
      say(this.part(`${side} .rate`), `${counted(messages)}/s`);
      say(this.part(`${side} .bytes`), bytes(size));
      this.part(side).toggleAttribute("data-none", !messages);
    }
    say(this.part(".unsent dd"), counted(unsent));
    this.part(".unsent").toggleAttribute("data-none", !unsent);
    say(this.part(".latency .rate"), latency.length ? seconds(latency.at(-1)) : "–");
    const most = Math.max(...latency, 1e-6);
    const points = latency.map((value, index) => `${60 - 2 * (latency.length - 1 - index)},${15 - 14 * value / most}`);
    this.part("polyline").setAttribute("points", points.join(" "));
  }

  showEvents() {
    if (!this.details.open) return;
    this.part("details ol").replaceChildren(...this.events.map((event) => {
      const item = document.createElement("li");
      const time = item.appendChild(document.createElement("time"));
      time.textContent = timeOfDay(event.at);
      item.appendChild(document.createElement("b")).textContent = event.event;
      item.appendChild(document.createElement("span")).textContent = told(event);
      return item;
    }));
  }

  // Shows what time alone changes.
  move(time) {
    this.lane.show(time);
    const { retry_at: at } = this.data;
    say(this.part(".countdown"), at === null ? "" : `next attempt in ${Math.max(0, at - time).toFixed(1)} s`);
  }
}

const byElement = (element) => rows.get(element.closest(".row")?.dataset.connection);

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const row = byElement(target);
    if (!row || row.element !== target) continue;
    visible[isIntersecting ? "add" : "delete"](row);
    row.show();
    if (isIntersecting) row.move(now());
  }
}, { rootMargin: "100px" });

// --- What the program tells ---

function put(data) {
  const row = rows.get(data.name);
  if (row) {
    row.update(data);
  } else {
    rows.set(data.name, new Row(data));
    mustSort = true;
  }
}

function remove(name) {
  const row = rows.get(name);
  if (!row) return;
  sight.unobserve(row.element);
  visible.delete(row);
  row.element.remove();
  rows.delete(name);
  changes.set(name, "removed");
}

function take(news, isSnapshot) {
  offset = news.now - Date.now() / 1000;
  if (isSnapshot) {
    const names = new Set(news.rows.map((data) => data.name));
    for (const name of [...rows.keys()]) if (!names.has(name)) remove(name);
  }
  const removals = news.events.filter((event) => event.event === "Removed");
  if (!isSnapshot) for (const { connection } of removals) remove(connection);
  news.rows.forEach(put);
  if (isSnapshot) for (const row of rows.values()) row.forget();
  for (const event of news.events) if (event.event !== "Removed") rows.get(event.connection)?.take(event);
  for (const [name, numbers] of Object.entries(news.numbers ?? {})) rows.get(name)?.count(numbers);
  sum();
  arrange();
}

function takeStaff(news) {
  takeWorkers(news);
  for (const [name, state] of moveWorkers(now())) changes.set(name, state);
  if (!news.holders) return;
  for (const row of rows.values()) {
    row.isCurrent = false;
    row.show();
  }
}

function sum() {
  const counts = new Map();
  for (const { data } of rows.values()) {
    const state = data.failed ? "ended with an error" : data.state;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const states = [...counts].map(([state, count]) => `${counted(count)} ${state}`);
  const all = rows.size === 1 ? "1 connection" : `${counted(rows.size)} connections`;
  say($("counts"), [all, ...states].join(" · "));
}

// --- Which rows, and in which order ---

const ORDERS = {
  order: () => 0,
  name: (one, other) => one.data.name.localeCompare(other.data.name),
  trouble: (one, other) => other.inTrouble - one.inTrouble,
  messages: (one, other) => traffic(other) - traffic(one),
  latency: (one, other) => (other.data.latency.at(-1) ?? -1) - (one.data.latency.at(-1) ?? -1),
};

function traffic({ data: { per_second: rates } }) {
  return rates.messages_received + rates.messages_sent;
}

function arrange() {
  const wanted = $("search").value.trim().toLowerCase();
  const held = document.activeElement?.closest(".row");
  let shown = 0;
  for (const [name, row] of rows) {
    const isShown = name.toLowerCase().includes(wanted) && (row.inTrouble || !$("trouble").checked);
    // A row that has the focus stays.
    row.element.hidden = !isShown && row.element !== held;
    shown += !row.element.hidden;
  }
  $("empty").hidden = shown > 0;
  if (mustSort) sort();
}

function sort() {
  mustSort = false;
  let place = $("rows").firstElementChild;
  for (const { element } of [...rows.values()].sort(ORDERS[$("sort").value])) {
    if (element === place) place = place.nextElementSibling;
    else $("rows").insertBefore(element, place);
  }
}

function rearrange() {
  mustSort = true;
  arrange();
}

$("search").addEventListener("input", arrange);
$("trouble").addEventListener("change", arrange);
$("sort").addEventListener("change", rearrange);
$("controls").addEventListener("submit", (event) => event.preventDefault());

// Rows are sorted again as they change, but not while somebody uses them.
setInterval(() => {
  const isInUse = $("rows").contains(document.activeElement) || $("rows").matches(":hover");
  if (!isInUse && !["order", "name"].includes($("sort").value)) rearrange();
}, 2000);

// --- What moves, and what is announced ---

const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
setInterval(() => {
  const time = now();
  if (document.hidden || document.body.dataset.link !== "live") return;
  for (const row of visible) row.move(time);
  for (const [name, state] of moveWorkers(time)) changes.set(name, state);
}, isStill ? 1000 : 100);

setInterval(() => {
  if (!changes.size) return;
  const all = [...changes].map(([name, state]) => `${name}: ${state}`);
  say($("news"), all.length > 3 ? `${all.length} connections changed. ${$("counts").textContent}` : all.join(". "));
  changes.clear();
}, 1000);

// --- What the user does ---

async function command(name, action) {
  try {
    // The name is in the query, because `.` and `..` cannot be in a path.
    const response = await fetch(`api/connections/${action}?name=${encodeURIComponent(name)}`, { method: "POST" });
    if (!response.ok) tell((await response.json()).error);
  } catch {
    tell("the program does not answer");
  }
}

// Says what went wrong, for some seconds in place of the link's state.
function tell(text) {
  say($("news"), text);
  say($("link"), text);
  setTimeout(() => say($("link"), linkText), 8000);
}

$("rows").addEventListener("click", (event) => {
  const action = event.target.closest("button")?.dataset.action;
  if (action) command(byElement(event.target).data.name, action);
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "Escape" && event.target === $("search")) {
    $("search").value = "";
    arrange();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.closest(".row")) {
    const like = event.target.dataset.action ? `[data-action=${event.target.dataset.action}]` : "summary";
    const step = event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling";
    let next = event.target.closest(".row")[step];
    while (next?.hidden) next = next[step];
    next?.querySelector(like)?.focus();
    event.preventDefault();
  }
});

// --- The stream ---

const GRACE = 10000; // Milliseconds out of sight after which a page follows no longer.
const LONGEST_WAIT = 30000;

let stream = null;
let linkText = "";
let wait = 1000;
let retry, leave;

function link(state, text) {
  document.body.dataset.link = state;
  linkText = text;
  say($("link"), text);
  $("key").hidden = state !== "denied";
}

function listen() {
  hangUp();
  // A browser has only a few connections for all pages of one origin. Each stream takes one.
  if (document.hidden) return;
  const own = stream = new EventSource("api/events");
  own.addEventListener("open", () => {
    wait = 1000;
    forgetWorkers();
    link("live", "live");
  });
  own.addEventListener("snapshot", (event) => take(JSON.parse(event.data), true));
  own.addEventListener("update", (event) => take(JSON.parse(event.data), false));
  own.addEventListener("workers", (event) => takeStaff(JSON.parse(event.data)));
  own.addEventListener("error", async () => {
    link("lost", "the program is gone; this page goes on when it is back");
    // The browser tries again by itself only if there was no answer.
    if (own.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("api/session", { method: "POST" }).catch(() => null);
    if (own !== stream) return;
    if (answer?.status === 401) {
      link("denied", "the program wants its token");
      return;
    }
    if (answer?.ok) link("lost", "too many pages follow the program; this one goes on when it can");
    retry = setTimeout(listen, wait);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  });
}

function hangUp() {
  clearTimeout(retry);
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(leave);
  if (document.hidden) leave = setTimeout(hangUp, GRACE);
  else if (!stream) listen();
});

// Exchanges the token, which is in the URL's fragment, for a cookie that no script can read.
async function logIn(token) {
  if (token) {
    history.replaceState(null, "", location.pathname);
    await fetch("api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } }).catch(() => null);
  }
  listen();
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn($("token").value.trim());
  $("token").value = "";
});
addEventListener("hashchange", () => location.hash && logIn(location.hash.slice(1)));
logIn(location.hash.slice(1));
