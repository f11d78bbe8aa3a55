"use strict";
// The picture: a canvas draws lanes and arrows of the visible part, buttons above it carry the texts.
// Events are [at µs, from lane, to lane, kind, link, agent, text, detail].
const story = JSON.parse(document.getElementById("data").textContent);
const [AT, FROM, TO, KIND, LINK, AGENT, TEXT, DETAIL] = [0, 1, 2, 3, 4, 5, 6, 7];
const element = (id) => document.getElementById(id);
const events = story.moments, lanes = story.lanes, kinds = story.kinds;
const kindOf = (name) => kinds.indexOf(name);
const [FAULT, VERDICT, LIFE] = ["fault", "verdict", "life"].map(kindOf);

/* ---- state ---- */
const LABEL = 18;          // px of a text
const APART = 15;          // px from one text to the next, at least
const TALL = 6_000_000;    // px, below what browsers can scroll
const TIME = 104;          // px of the column of times
const lanesOn = lanes.map(() => true);
const kindsOn = kinds.map((name) => name !== "flow");
const hays = [];
let shown = [];            // places of the events that pass the filter
let ys = new Float64Array(0);
let height = 0;
let row = 22;              // px per event
let stretch = 1;           // of linear time; 1 is the whole run in one screen
let picked = -1;           // place in events
let colours = {};

/* ---- words ---- */
const seconds = (us) => Math.floor(us / 1e6) + "." + String(us % 1e6).padStart(6, "0");
const span = (us) => us >= 6e7 ? (us / 6e7).toFixed(1) + " min" : us >= 1e6 ? (us / 1e6).toFixed(1) + " s" : (us / 1e3).toFixed(us >= 1e5 ? 0 : 1) + " ms";
const way = (e) => e[FROM] === e[TO] ? lanes[e[FROM]] : lanes[e[FROM]] + " → " + lanes[e[TO]];
const number = (n) => n.toLocaleString("en");

/* ---- filter ---- */
function hay(n) {
  const e = events[n];
  return hays[n] ??= [lanes[e[FROM]], lanes[e[TO]], kinds[e[KIND]], e[AGENT], e[TEXT], e[DETAIL]].join(" ").toLowerCase();
}
// The core takes part in nearly everything: its button hides only what it does by itself.
function laneShown(e) {
  if (e[FROM] === e[TO]) return lanesOn[e[FROM]];
  return [e[FROM], e[TO]].every((lane) => lane === story.core || lanesOn[lane]);
}
function filter() {
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  events.forEach((e, n) => {
    if (kindsOn[e[KIND]] && laneShown(e) && words.every((word) => hay(n).includes(word))) shown.push(n);
  });
  const dropped = story.dropped ? ` (the first ${number(story.dropped)} are left out)` : "";
  element("count").textContent = `${number(shown.length)} of ${number(events.length)} events${dropped}`;
  place();
}

/* ---- places in px ---- */
function place() {
  const mode = element("mode").value, room = scroll.clientHeight - 2 * LABEL;
  ys = new Float64Array(shown.length);
  let y = LABEL, before = shown.length ? events[shown[0]][AT] : 0;
  const first = before, whole = Math.max(1, shown.length ? events[shown.at(-1)][AT] - first : 1);
  const gap = (us) => us > 20_000 ? Math.log10(us / 10_000) * row * 0.6 : 0;
  shown.forEach((n, k) => {
    const at = events[n][AT];
    if (mode === "linear") y = LABEL + (at - first) / whole * room * stretch;
    else if (k) y += row + (mode === "gaps" ? gap(at - before) : 0);
    ys[k] = y;
    before = at;
  });
  height = (ys.length ? ys.at(-1) : 0) + 2 * LABEL;
  element("space").style.height = Math.max(height, scroll.clientHeight) + "px";
  draw();
}
function above(y) { // the first shown event at or below y
  let low = 0, high = ys.length;
  while (low < high) { const mid = (low + high) >> 1; if (ys[mid] < y) low = mid + 1; else high = mid; }
  return low;
}
function zoom(factor) {
  const linear = element("mode").value === "linear";
  const middle = scroll.scrollTop + scroll.clientHeight / 2;
  const k = Math.min(above(middle), shown.length - 1);
  const offset = k < 0 ? 0 : ys[k] - scroll.scrollTop;
  if (linear) stretch = Math.min(Math.max(1, stretch * factor), TALL / Math.max(1, scroll.clientHeight));
  else row = Math.min(Math.max(0.02, row * factor), 44, Math.max(22, TALL / 4 / Math.max(1, shown.length)));
  place();
  if (k >= 0) scroll.scrollTop = ys[k] - offset;
  draw();
}
function fit() {
  if (element("mode").value === "linear") stretch = 1;
  else {
    for (let round = 0; round < 3; round++) {
      row = Math.min(44, Math.max(0.02, row * (scroll.clientHeight - 2 * LABEL) / Math.max(1, height - 2 * LABEL)));
      place();
    }
  }
  place();
}

/* ---- drawing ---- */
const scroll = element("scroll"), canvas = element("canvas"), map = element("map"), rows = element("rows");
const step = () => { // lanes stand closer where texts would have less than a third of the room
  const room = scroll.clientWidth - TIME, each = (share) => room * share / lanes.length;
  return Math.min(92, Math.max(each(0.52), Math.min(44, each(0.67))));
};
const heights = () => Math.max(2, Math.min(6, Math.ceil(88 / step()))); // on which the names of lanes stand
const x = (lane) => TIME + (lane + 0.5) * step();
const textLeft = () => TIME + lanes.length * step() + 8;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = [...kinds, "lane", "line", "quiet", "pick", "fault-back", "verdict-back", "life-back", "text", "panel"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
}
function fresh(canvas, width, tall) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(tall * ratio);
    canvas.style.width = width + "px";
    canvas.style.height = tall + "px";
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, tall);
  return pen;
}
let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}
function paint() {
  const width = scroll.clientWidth, tall = scroll.clientHeight, top = scroll.scrollTop;
  const pen = fresh(canvas, width, tall);
  const from = above(top - LABEL), to = above(top + tall + LABEL);
  bands(pen, from, to, top, width);
  pen.strokeStyle = colours.lane;
  lanes.forEach((_, lane) => {
    pen.lineWidth = lane === story.core ? 2 : 1;
    pen.globalAlpha = lanesOn[lane] ? 1 : 0.3;
    pen.beginPath(); pen.moveTo(x(lane), 0); pen.lineTo(x(lane), tall); pen.stroke();
  });
  pen.globalAlpha = 1;
  gaps(pen, from, to, top);
  arrows(pen, from, to, top);
  labels(from, to, top);
  paintMap(top, tall);
}
function bands(pen, from, to, top, width) {
  const high = Math.min(LABEL, Math.max(3, row));
  for (let k = from; k < to; k++) {
    const n = shown[k], kind = events[n][KIND];
    const back = n === picked ? "pick" : kind === VERDICT ? "verdict-back" : kind === FAULT ? "fault-back" : kind === LIFE ? "life-back" : null;
    if (!back) continue;
    pen.fillStyle = colours[back];
    pen.fillRect(0, ys[k] - top - high / 2, width, high);
  }
}
function gaps(pen, from, to, top) { // how much time the empty space stands for
  if (element("mode").value === "linear" || row < 12) return;
  pen.fillStyle = colours.quiet;
  pen.font = "11px system-ui, sans-serif";
  pen.strokeStyle = colours.line;
  pen.setLineDash([2, 4]);
  for (let k = Math.max(1, from); k < to; k++) {
    const passed = events[shown[k]][AT] - events[shown[k - 1]][AT];
    if (ys[k] - ys[k - 1] < 2 * LABEL || passed < 100_000) continue;
    const y = (ys[k] + ys[k - 1]) / 2 - top;
    pen.fillText("+ " + span(passed), 14, y + 4);
    pen.beginPath(); pen.moveTo(TIME - 10, y); pen.lineTo(textLeft() - 8, y); pen.stroke();
  }
  pen.setLineDash([]);
}
function arrows(pen, from, to, top) {
  const seen = new Set(), heads = row >= 7 || element("mode").value === "linear";
  for (let k = from; k < to; k++) {
    const e = events[shown[k]], y = Math.round(ys[k] - top) + 0.5;
    const key = (y * lanes.length + e[FROM]) * lanes.length + e[TO] + e[KIND] / 32;
    if (seen.has(key)) continue;
    seen.add(key);
    const colour = colours[kinds[e[KIND]]], a = x(e[FROM]), b = x(e[TO]);
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = row < 3 ? 1 : 1.6;
    pen.globalAlpha = row < 3 && e[KIND] !== VERDICT && e[KIND] !== FAULT ? 0.45 : 1; // in the overview they lie side by side
    if (a === b) {
      pen.beginPath();
      if (e[KIND] === VERDICT || e[KIND] === FAULT) {
        const r = e[KIND] === VERDICT ? 8 : 6;
        pen.moveTo(a, y - r); pen.lineTo(a + r, y); pen.lineTo(a, y + r); pen.lineTo(a - r, y); pen.fill();
      } else {
        pen.arc(a, y, heads ? 3.5 : 1.5, 0, 7); pen.fill();
      }
      continue;
    }
    const side = Math.sign(b - a);
    pen.beginPath(); pen.moveTo(a, y); pen.lineTo(b - side * (heads ? 6 : 0), y); pen.stroke();
    if (heads) {
      pen.beginPath(); pen.moveTo(b, y); pen.lineTo(b - side * 8, y - 4); pen.lineTo(b - side * 8, y + 4); pen.fill();
      pen.beginPath(); pen.arc(a, y, 2, 0, 7); pen.fill();
    }
  }
  pen.globalAlpha = 1;
}
function labels(from, to, top) { // texts where there is room; what went wrong first
  const taken = new Map(), chosen = [];
  const claim = (k) => {
    const slot = Math.floor(ys[k] / APART); // at most one text stands in each
    for (const near of [slot - 1, slot, slot + 1]) {
      if (taken.has(near) && Math.abs(taken.get(near) - ys[k]) < APART) return;
    }
    taken.set(slot, ys[k]);
    chosen.push(k);
  };
  const urgency = (k) => shown[k] === picked || events[shown[k]][KIND] === VERDICT ? 2 : events[shown[k]][KIND] === FAULT ? 1 : 0;
  for (const wanted of [2, 1, 0]) for (let k = from; k < to; k++) if (urgency(k) === wanted) claim(k);
  chosen.sort((a, b) => a - b);
  const left = textLeft();
  rows.replaceChildren(...chosen.map((k) => {
    const n = shown[k], e = events[n], button = document.createElement("button");
    button.className = "event " + kinds[e[KIND]];
    button.id = "e" + n;
    button.tabIndex = -1;
    Object.assign(button.dataset, { n, kind: kinds[e[KIND]], from: lanes[e[FROM]], to: lanes[e[TO]] });
    button.style.cssText = `top:${ys[k] - LABEL / 2}px;height:${LABEL}px;padding-left:${left}px`;
    const time = document.createElement("span");
    time.className = "time";
    time.textContent = seconds(e[AT]);
    button.append(time, e[TEXT]);
    const named = e[AGENT] && lanes[e[FROM]] !== e[AGENT] && lanes[e[TO]] !== e[AGENT] && !e[TEXT].includes(e[AGENT]);
    if (named) {
      const agent = document.createElement("span");
      agent.className = "agent";
      agent.textContent = "  " + e[AGENT];
      button.append(agent);
    }
    button.setAttribute("aria-label", `${seconds(e[AT])} s, ${way(e)}: ${e[TEXT]}`);
    return button;
  }));
}
function paintMap(top, tall) {
  const high = map.parentElement.clientHeight, pen = fresh(map, 18, high);
  const scale = high / Math.max(height, tall);
  const bins = new Int32Array(Math.ceil(high) + 1);
  for (let k = 0; k < ys.length; k++) bins[Math.floor(ys[k] * scale)]++;
  const most = Math.max(1, ...bins);
  pen.fillStyle = colours.quiet;
  bins.forEach((n, y) => { if (n) { pen.globalAlpha = 0.25 + 0.5 * n / most; pen.fillRect(3, y, 12 * Math.sqrt(n / most), 1); } });
  pen.globalAlpha = 1;
  for (const [kind, thick] of [[LIFE, 1], [FAULT, 2], [VERDICT, 4]]) {
    pen.fillStyle = colours[kinds[kind]];
    for (let k = 0; k < ys.length; k++) if (events[shown[k]][KIND] === kind) pen.fillRect(2, Math.floor(ys[k] * scale), 15, thick);
  }
  pen.strokeStyle = colours.frame;
  pen.lineWidth = 1.5;
  pen.strokeRect(1, top * scale + 0.75, 16, Math.max(6, tall * scale - 1.5));
}
function heads() {
  const high = heights();
  element("head").replaceChildren();
  element("head").style.height = 4 + 23 * high + "px";
  const note = document.createElement("span");
  note.style.left = "12px";
  note.textContent = "time, s";
  element("head").append(note);
  lanes.forEach((name, lane) => {
    const button = toggle(name, lanesOn, lane, (other) => other === story.core);
    button.dataset.lane = name;
    button.style.left = x(lane) + "px";
    button.style.maxWidth = Math.max(24, high * step() - 6) + "px"; // neighbours stand on different heights
    button.style.top = 3 + 23 * (lane % high) + "px";
    element("head").append(button);
  });
}
// A button that shows and hides; with shift pressed it hides all others, and once more shows all.
function toggle(name, on, place, always) {
  const button = document.createElement("button");
  button.textContent = name;
  button.title = name + ": click to hide or show, shift-click for only this";
  button.setAttribute("aria-pressed", on[place]);
  button.addEventListener("click", (event) => {
    if (event.shiftKey) {
      const alone = on.every((is, other) => is === (other === place || always(other)));
      on.forEach((_, other) => { on[other] = alone || other === place || always(other); });
    } else on[place] = !on[place];
    chips(); heads(); filter();
  });
  return button;
}
function chips() {
  const counts = kinds.map(() => 0);
  events.forEach((e) => counts[e[KIND]]++);
  element("kinds").replaceChildren(...kinds.flatMap((name, kind) => {
    if (!counts[kind]) return [];
    const button = toggle(`${name} ${number(counts[kind])}`, kindsOn, kind, () => false);
    button.dataset.kind = name;
    button.style.setProperty("--colour", `var(--${name})`);
    return [button];
  }));
}

/* ---- details ---- */
function pretty(text) {
  const at = text.startsWith("{") ? 0 : text.indexOf("\n{") + 1;
  if (at || text.startsWith("{")) {
    try { return text.slice(0, at) + JSON.stringify(JSON.parse(text.slice(at)), null, 2); } catch { /* cut or no JSON: as it is */ }
  }
  return text;
}
function pick(n, open) {
  picked = n;
  const e = events[n], k = shown.indexOf(n);
  if (k >= 0) {
    const y = ys[k] - scroll.scrollTop;
    if (y < 2 * LABEL || y > scroll.clientHeight - 2 * LABEL) scroll.scrollTop = ys[k] - scroll.clientHeight / 2;
  }
  scroll.setAttribute("aria-activedescendant", "e" + n);
  if (open || !element("detail").hidden) {
    const before = n ? e[AT] - events[n - 1][AT] : 0;
    const facts = { time: seconds(e[AT]) + " s", after: n ? "+ " + span(before) : "the beginning", way: way(e), kind: kinds[e[KIND]], link: e[LINK], agent: e[AGENT], event: `${number(n + 1)} of ${number(events.length)}` };
    element("what").textContent = e[TEXT].slice(0, 90);
    element("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value !== null).flatMap(([name, value]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name; dd.textContent = value;
      return [dt, dd];
    }));
    element("body").textContent = pretty(e[DETAIL] || e[TEXT]);
    if (element("detail").hidden) { element("detail").hidden = false; resized(); }
  }
  draw();
}
function close() {
  element("detail").hidden = true;
  picked = -1;
  scroll.removeAttribute("aria-activedescendant");
  resized();
  scroll.focus();
}
function move(by, open) {
  if (!shown.length) return;
  const now = shown.indexOf(picked);
  const from = now >= 0 ? now : Math.min(above(scroll.scrollTop), shown.length - 1) - Math.sign(by);
  pick(shown[Math.min(shown.length - 1, Math.max(0, from + by))], open);
}
function showVerdict() {
  const n = events.findIndex((e) => e[KIND] === VERDICT);
  if (n < 0) return;
  if (!shown.includes(n)) { lanesOn.fill(true); kindsOn[VERDICT] = true; element("search").value = ""; chips(); heads(); filter(); }
  pick(n, true);
}

/* ---- begin ---- */
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select");
  if (event.key === "Escape") { if (typing) scroll.focus(); else close(); return; }
  if (typing) return;
  const page = Math.max(1, above(scroll.scrollTop + scroll.clientHeight) - above(scroll.scrollTop) - 1);
  const inChart = scroll.contains(event.target) || event.target === document.body;
  const anywhere = { "/": () => element("search").focus(), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": fit, v: showVerdict };
  const chart = {
    ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(page), PageUp: () => move(-page),
    Home: () => shown.length && pick(shown[0]), End: () => shown.length && pick(shown.at(-1)), Enter: () => picked >= 0 && pick(picked, true),
  };
  const does = anywhere[event.key] ?? (inChart ? chart[event.key] : undefined);
  if (does) { event.preventDefault(); does(); }
}
function verdict() {
  const broken = events.find((e) => e[KIND] === VERDICT), place = element("verdict");
  if (broken) {
    place.className = "broken";
    const words = document.createElement("strong"), button = document.createElement("button");
    words.textContent = `${broken[TEXT]} — at ${seconds(broken[AT])} s`;
    button.textContent = "show ( v )";
    button.addEventListener("click", showVerdict);
    place.append(words, button);
  } else place.textContent = story.end;
  place.hidden = !place.hasChildNodes();
}
function resized() { heads(); place(); }

element("title").textContent = story.title;
element("reproduction").textContent = story.reproduction;
verdict();
readColours();
chips();
heads();
filter();
scroll.addEventListener("scroll", draw);
rows.addEventListener("click", (event) => {
  const button = event.target.closest(".event");
  if (button) { pick(Number(button.dataset.n), true); scroll.focus({ preventScroll: true }); }
});
element("space").addEventListener("click", (event) => { // between texts: the nearest event
  if (event.target.closest(".event") || !shown.length) return;
  const y = event.clientY - scroll.getBoundingClientRect().top + scroll.scrollTop, k = above(y);
  const near = [k - 1, k].filter((k) => k >= 0 && k < ys.length).sort((a, b) => Math.abs(ys[a] - y) - Math.abs(ys[b] - y))[0];
  pick(shown[near], true);
});
const jump = (event) => { if (event.buttons & 1 || event.type === "click") scroll.scrollTop = event.offsetY / map.clientHeight * height - scroll.clientHeight / 2; };
map.addEventListener("click", jump);
map.addEventListener("mousemove", jump);
scroll.addEventListener("wheel", (event) => { if (event.ctrlKey) { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2); } }, { passive: false });
let typed;
element("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(filter, 80); });
element("mode").addEventListener("change", () => { const k = above(scroll.scrollTop); place(); if (k < ys.length) scroll.scrollTop = ys[k] - LABEL; });
element("in").addEventListener("click", () => zoom(1.5));
element("out").addEventListener("click", () => zoom(1 / 1.5));
element("fit").addEventListener("click", fit);
element("before").addEventListener("click", () => move(-1));
element("after").addEventListener("click", () => move(1));
element("close").addEventListener("click", close);
document.addEventListener("keydown", keys);
addEventListener("resize", resized);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
