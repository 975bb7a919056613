// The words of the page: numbers, times and lifecycle events. Whatever a peer says is text in it.

export const $ = (id) => document.getElementById(id);

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function counted(number) {
  return Math.round(number).toLocaleString("en");
}

// A text of a peer. Characters that are invisible, or change the direction of writing, could make it look like another.
export function shown(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit && number < 100 ? number.toFixed(1) : Math.round(number)} ${units[unit]}/s`;
}

export function seconds(number) {
  if (number >= 1) return `${number.toFixed(1)} s`;
  return `${number < 0.01 ? (number * 1000).toFixed(1) : counted(number * 1000)} ms`;
}

function close(event) {
  return `${event.code}${event.reason ? ` "${event.reason}"` : ""}, ${event.was_clean ? "clean" : "not clean"}`;
}

const WORDS = {
  Connecting: (event) => `to ${event.url}`,
  Opened: (event) => `after ${seconds(event.elapsed)}${event.subprotocol ? `, subprotocol ${event.subprotocol}` : ""}`,
  Dropped: (event) => `${close(event)}; the next attempt in ${seconds(event.retry_in)}`,
  Closing: (event) => `begun by: ${event.initiator}`,
  Stopped: (event) => `${close(event)}, ended by: ${event.initiator}; ${counted(event.messages_received)} messages in, ` +
    `${counted(event.messages_sent)} out, ${counted(event.unsent)} unsent`,
  ErrorEvent: (event) => `${event.phase}: ${event.message}`,
};

// A lifecycle event in words.
export function told(event) {
  return shown(WORDS[event.event]?.(event) ?? "");
}

const TIME_OF_DAY = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

export function timeOfDay(seconds) {
  return TIME_OF_DAY.format(seconds * 1000);
}
