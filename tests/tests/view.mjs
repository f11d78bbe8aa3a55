// Opens a page in headless Chromium and does what a reader does; prints what was to be seen as JSON.
// Arguments: playwright-core, chromium, the page, the folder for screenshots.
import { createRequire } from "node:module";
const [core, program, page, folder] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(core);

const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox", "--disable-gpu"] });
const seen = { errors: [], requests: [] };
try {
  const tab = await browser.newPage({ viewport: { width: 1400, height: 860 }, colorScheme: "light" });
  tab.setDefaultTimeout(20_000);
  tab.on("pageerror", (error) => seen.errors.push(error.message));
  tab.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  tab.on("request", (request) => request.url() !== page && seen.requests.push(request.url()));
  const count = () => tab.textContent("#count");
  const painted = () => tab.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

  const begun = Date.now();
  await tab.goto(page);
  await tab.waitForSelector(".event");
  await painted();
  seen.ready_ms = Date.now() - begun;
  seen.count = await count();
  seen.verdict = await tab.textContent("#verdict");
  seen.lanes = await tab.$$eval("#head button", (all) => all.map((lane) => lane.dataset.lane));
  seen.arrows = await tab.$$eval(".event", (all) => all.map((event) => event.dataset.from + ">" + event.dataset.to));
  // Under each lane its line, in the middle of each arrow its colour: nothing, where the canvas is blank.
  seen.ink = await tab.evaluate(() => {
    const canvas = document.getElementById("canvas"), pen = canvas.getContext("2d");
    const ratio = canvas.width / canvas.clientWidth, left = canvas.getBoundingClientRect().left;
    const hit = (x, y, wide) => [...pen.getImageData(Math.round((x - wide) * ratio), Math.round(y * ratio), 2 * wide, 1).data].some((byte) => byte);
    const middle = Object.fromEntries([...document.querySelectorAll("#head button")].map((lane) => {
      const place = lane.getBoundingClientRect();
      return [lane.dataset.lane, (place.left + place.right) / 2 - left];
    }));
    const top = document.getElementById("scroll").getBoundingClientRect().top;
    const first = [...document.querySelectorAll(".event")].filter((event) => event.dataset.from !== event.dataset.to)[0];
    const place = first.getBoundingClientRect();
    return {
      lanes: Object.entries(middle).map(([name, x]) => [name, hit(x, 3, 2)]),
      between: hit((middle.engine + middle.link) / 2, 3, 2),
      arrow: hit((middle[first.dataset.from] + middle[first.dataset.to]) / 2, (place.top + place.bottom) / 2 - top, 2),
    };
  });
  const colours = (png) => tab.evaluate(async (png) => {
    const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
    pen.drawImage(image, 0, 0);
    const data = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer);
    return new Set(data).size;
  }, png.toString("base64"));
  const shot = async (name) => colours(await tab.screenshot({ path: `${folder}/${name}.png` }));
  seen.colours = await shot("begin");

  // The verdict: a key leads to it, wherever it is.
  await tab.focus("#scroll");
  await tab.keyboard.press("v");
  await tab.waitForSelector(".event.verdict");
  seen.verdict_detail = await tab.textContent("#body");
  seen.verdict_colours = await shot("verdict");
  await tab.keyboard.press("Escape");

  // A click opens details, arrows move, Escape closes.
  await tab.keyboard.press("Home");
  await tab.waitForSelector("#e0");
  await tab.locator(".event.frame").first().click();
  seen.detail = await tab.textContent("#body");
  seen.facts = await tab.textContent("#facts");
  await tab.keyboard.press("ArrowDown");
  seen.next_facts = await tab.textContent("#facts");
  await tab.keyboard.press("Escape");
  seen.closed = await tab.isHidden("#detail");

  // Filters: kind, lane, text.
  await tab.click('#kinds button[data-kind="frame"]');
  // The page draws with the next frame of the screen.
  const gone = () => document.querySelectorAll(".event.frame").length === 0;
  await tab.waitForFunction(gone, undefined, { timeout: 10_000 }).catch(() => {});
  seen.without_frames = { count: await count(), left: await tab.locator(".event.frame").count() };
  await tab.click('#kinds button[data-kind="frame"]');
  await tab.click('#head button[data-lane="store"]');
  seen.without_store = await count();
  await tab.click('#head button[data-lane="store"]');
  await tab.fill("#search", "needle");
  await tab.waitForFunction((all) => document.getElementById("count").textContent !== all, seen.count);
  seen.searched = await count();
  await tab.fill("#search", "");
  await tab.waitForFunction((all) => document.getElementById("count").textContent === all, seen.count);

  // All of it in one screen, each way of showing time, and dark.
  const slow = Date.now();
  await tab.click("#fit");
  for (const mode of ["even", "linear", "gaps"]) {
    await tab.selectOption("#mode", mode);
    await painted();
    seen["colours_" + mode] = await shot(mode);
  }
  await tab.click("#in");
  await tab.click("#out");
  seen.modes_ms = Date.now() - slow;
  await tab.emulateMedia({ colorScheme: "dark" });
  await painted();
  // Little room for each lane, as with many agents: texts have their part of it, and every lane is there.
  await tab.setViewportSize({ width: 460, height: 860 });
  await painted();
  await painted();
  seen.narrow = await tab.evaluate(() => {
    const wide = document.getElementById("scroll").clientWidth;
    const text = document.querySelector(".event");
    const centre = (lane) => { const place = lane.getBoundingClientRect(); return (place.left + place.right) / 2; };
    const names = [...document.querySelectorAll("#head button")];
    const inside = (lane) => lane.getBoundingClientRect().bottom <= document.getElementById("head").getBoundingClientRect().bottom;
    return { text: parseFloat(text.style.paddingLeft) / wide, lanes: Math.max(...names.map(centre)) / wide, named: names.every(inside) };
  });
  seen.dark = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  seen.colours_dark = await shot("dark");
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
