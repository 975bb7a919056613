// RxJS webSocket() on ws, as its documentation shows it: `node rxjs.mjs PACKAGES JOB` prints one line of JSON.
// PACKAGES is the folder with node_modules. The functions are those of nodes.py, so that the numbers can be compared.

import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, json] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const { filter, map } = require("rxjs");
const { webSocket } = require("rxjs/webSocket");
const WS = require("ws");

const job = JSON.parse(json);
const url = `ws://127.0.0.1:${job.port}/`;
const kind = job.is_text ? "text" : "binary";
const now = () => process.hrtime.bigint();
const since = (begun) => Number(now() - begun);

class PlainWebSocket extends WS {
  constructor(address, protocols) {
    super(address, protocols ?? [], { perMessageDeflate: false, maxPayload: 0 });
  }
}

function open(observers = {}) {
  return webSocket({
    url,
    WebSocketCtor: PlainWebSocket,
    binaryType: "arraybuffer",
    serializer: (message) => message,
    deserializer: (event) => event.data,
    ...observers,
  });
}

class Counter {
  expect(count) {
    this.left = count;
    return new Promise((resolve) => (this.done = resolve));
  }

  seen() {
    if (--this.left === 0) this.done();
  }
}

async function rates(run) {
  const warmUp = Math.max(16, Math.min(4000, Math.floor((16 * 1024 * 1024) / job.size)));
  const rate = async (count) => {
    const begun = now();
    await run(count);
    return (count * 1e9) / since(begun);
  };
  // Node compiles what runs often: a longer warm-up than Python needs.
  for (let round = 0; round < 4; round++) await run(warmUp);
  const count = Math.max(warmUp, Math.floor((await rate(warmUp)) * job.seconds));
  await run(count);
  const found = [];
  for (let round = 0; round < job.rounds; round++) found.push(await rate(count));
  return found;
}

function percentiles(name, nanoseconds) {
  const warm = nanoseconds.slice(Math.floor(nanoseconds.length * 0.1)).sort((a, b) => a - b);
  return {
    [`${name}_p50`]: [warm[Math.floor(warm.length / 2)] / 1e3],
    [`${name}_p99`]: [warm[Math.floor((warm.length * 99) / 100)] / 1e3],
  };
}

async function countWith(operators) {
  const subject = open();
  const counters = Array.from({ length: job.subscribers }, () => new Counter());
  for (const counter of counters) subject.pipe(...operators).subscribe(() => counter.seen());
  const rate = await rates(async (count) => {
    const seen = counters.map((counter) => counter.expect(count));
    subject.next(`blast ${kind} ${job.size} ${count}`);
    await Promise.all(seen);
  });
  subject.complete();
  return { rate };
}

const workloads = {
  receive: () => countWith([]),

  pipeline: () =>
    countWith([map((message) => message.length), filter((length) => length > 0), map((length) => length + 1)]),

  async send() {
    const subject = open();
    const counter = new Counter();
    const text = "x".repeat(job.size);
    subject.subscribe(() => counter.seen());
    const rate = await rates(async (count) => {
      const done = counter.expect(1);
      subject.next(`sink ${count * (job.size + 6)}`);
      for (let first = 0; first < count; first += job.burst) {
        for (let sent = first; sent < Math.min(first + job.burst, count); sent++) subject.next(text);
        await new Promise(setImmediate);
      }
      await done;
    });
    subject.complete();
    return { rate };
  },

  async echo() {
    const took = [];
    const text = "x".repeat(job.size);
    const subject = open();
    await new Promise((resolve) => {
      let begun;
      const sendNext = () => {
        begun = now();
        subject.next(text);
      };
      subject.subscribe(() => {
        took.push(since(begun));
        if (took.length < job.count) sendNext();
        else resolve();
      });
      subject.next("echo");
      sendNext();
    });
    subject.complete();
    return percentiles("echo", took);
  },

  async lifecycle() {
    const opening = [];
    const stopping = [];
    for (let start = 0; start < job.count; start++) {
      let begun = now();
      let opened, closed;
      const isOpen = new Promise((resolve) => (opened = resolve));
      const isClosed = new Promise((resolve) => (closed = resolve));
      const subject = open({ openObserver: { next: opened }, closeObserver: { next: closed } });
      subject.subscribe();
      await isOpen;
      opening.push(since(begun));
      begun = now();
      subject.complete();
      await isClosed;
      stopping.push(since(begun));
    }
    return { ...percentiles("open", opening), ...percentiles("stop", stopping) };
  },
};

console.log(JSON.stringify({ metrics: await workloads[job.workload]() }));
