// A fleet's workers: what each holds, the age of its lease, and who took over from whom. Hidden if there is no fleet.

import { $, counted, say, seconds, shown, timeOfDay } from "./words.js";

const LATE = 2.5 / 8; // After this part of a lease a renewal is missing: a lease has eight.
const GROUPS_SHOWN = 20;

const cards = new Map(); // By the worker's id.
let told = {};

class Card {
  constructor({ id }) {
    this.element = $("worker").content.firstElementChild.cloneNode(true);
    this.part = (selector) => this.element.querySelector(selector);
    this.element.dataset.worker = id;
    say(this.part(".name"), shown(id));
    $("workers").append(this.element);
  }

  update(data) {
    this.data = data;
    say(this.part(".host"), shown(data.host));
    this.part("meter").max = data.lease;
  }

  // Shows what time alone changes; gives the standing if it is another one.
  move(time) {
    const { held, capacity, lease, alive, renewed_at: at } = this.data;
    const age = Math.max(0, time - at);
    const standing = this.standingAt(age);
    const most = capacity === null ? "" : ` of ${counted(capacity)} at most`;
    say(this.part(".standing"), standing);
    say(this.part(".held"), `${standing === "gone" ? "held" : "holds"} ${counted(held)}${most}`);
    const renewed = alive ? `renewed ${age.toFixed(1)} s ago` : `no renewal seen in ${age.toFixed(1)} s`;
    say(this.part(".age"), standing === "gone" ? `its lease of ${seconds(lease)} ran out`
      : `${renewed}, lease of ${seconds(lease)}`);
    this.part("meter").value = Math.max(0, lease - age);
    const before = this.element.dataset.standing;
    this.element.dataset.standing = standing;
    return before && before !== "unknown" && before !== standing ? standing : null;
  }

  standingAt(age) {
    const { alive, draining, lease } = this.data;
    if (age >= lease) return "gone";
    if (age >= LATE * lease) return "silent";
    // A lease from before says nothing until it is renewed.
    if (!alive) return "unknown";
    return draining ? "draining" : "alive";
  }
}

// The worker that holds a connection; empty if none does.
export function holder(name) {
  const holders = told.holders ?? {};
  return Object.hasOwn(holders, name) ? shown(holders[name]) : "";
}

// The next program that answers may have no fleet.
export function forgetWorkers() {
  told = {};
  for (const { element } of cards.values()) element.remove();
  cards.clear();
  $("fleet").hidden = true;
}

export function takeWorkers(news) {
  told = { ...told, ...news };
  $("fleet").hidden = false;
  $("away").hidden = told.current;
  if (news.workers) list(news.workers);
  if (news.takeovers) listTakeovers(news.takeovers);
}

function list(workers) {
  const ids = new Set(workers.map(({ id }) => id));
  for (const [id, { element }] of cards) {
    if (ids.has(id)) continue;
    element.remove();
    cards.delete(id);
  }
  for (const data of workers) {
    if (!cards.has(data.id)) cards.set(data.id, new Card(data));
    cards.get(data.id).update(data);
  }
  const all = workers.length === 1 ? "1 worker" : `${counted(workers.length)} workers`;
  say($("staff"), workers.length ? all : "No worker");
}

// All that one worker took over from another at one time is one line; the latest is first.
function listTakeovers(takeovers) {
  const groups = [];
  for (const { at, connection, from, to } of takeovers.toReversed()) {
    const last = groups.at(-1);
    if (last?.from === from && last.to === to) last.names.unshift(connection);
    else groups.push({ at, from, to, names: [connection] });
  }
  $("takeovers").hidden = !groups.length;
  say($("takeovers").querySelector("summary"), `Takeovers: ${counted(takeovers.length)}`);
  $("takeovers").querySelector("ol").replaceChildren(...groups.slice(0, GROUPS_SHOWN).map(({ at, from, to, names }) => {
    const item = document.createElement("li");
    item.appendChild(document.createElement("time")).textContent = timeOfDay(at);
    const text = `${shown(to)} took over from ${shown(from)}: ${names.map(shown).join(", ")}`;
    item.appendChild(document.createElement("span")).textContent = text;
    return item;
  }));
}

// Shows what time alone changes; gives the workers whose standing is another one, so that it can be announced.
export function moveWorkers(time) {
  // While the store is out of reach no renewal can be seen, so that the age of a lease says nothing.
  if (!told.current) return [];
  const changed = [];
  for (const [id, card] of cards) {
    const standing = card.move(time);
    if (standing) changed.push([`worker ${shown(id)}`, standing]);
  }
  return changed;
}
