// The page in a real browser. test_page.py starts this with the environment variables below and reads the outcome of
// each test; `node --test-reporter=spec page.test.mjs` shows it by hand.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, cpSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

const { BROWSER, PROGRAM, PYTHON, IMAGES, SITES, PACKAGES, UPLOAD_PAGE } = process.env;
const packages = createRequire(`${PACKAGES}/`);
const { default: puppeteer } = await import(pathToFileURL(packages.resolve("puppeteer-core")));
const AXE = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");
const chromiumOnly = { skip: BROWSER !== "chromium" && "drives Chromium by its own protocol" };

const SERVE = `
import sys
from pathlib import Path
from containerize_deploy.page.website import make_server
server = make_server(Path(sys.argv[1]), int(sys.argv[2]))
print(server.server_port, flush=True)
server.serve_forever()`;

let browser, server, address;

async function serve(folder, port = 0) {
  const started = spawn(PYTHON, ["-c", SERVE, folder, port]);
  started.stderr.pipe(process.stderr);
  const [line] = await once(started.stdout, "data");
  return [started, `http://127.0.0.1:${Number(line)}`];
}

before(async () => {
  [server, address] = await serve(SITES);
  browser = await puppeteer.launch({
    browser: BROWSER === "chromium" ? "chrome" : BROWSER,
    executablePath: PROGRAM,
    args: BROWSER === "chromium" ? ["--no-sandbox", "--use-fake-device-for-media-stream"] : [],
    extraPrefsFirefox: { "media.navigator.streams.fake": true, "media.navigator.permission.disabled": true },
  });
});

after(async () => {
  await browser?.close();
  server?.kill();
});

/** A page in a profile of its own: nothing cached, no service worker. */
async function visit({ site = "page", camera = false, prepare = async () => {}, wait = "[data-ready]" } = {}) {
  const context = await browser.createBrowserContext();
  if (camera && BROWSER === "chromium") await context.overridePermissions(address, ["camera"]);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => assert.fail(error));
  await prepare(page);
  await page.goto(`${address}/${site}/`);
  await page.waitForSelector(wait);
  return page;
}

const text = (page, selector) => page.$eval(selector, (element) => element.innerText);
const says = (page, selector, pattern) =>
  page.waitForFunction((selector, source) => new RegExp(source, "s").test(document.querySelector(selector)?.innerText ?? ""), { polling: 100 }, selector, pattern.source);

async function choose(page, ...names) {
  const input = await page.$("#files");
  await input.uploadFile(...names.map((name) => `${IMAGES}/${name}`));
}

/** The answers, once there are that many and none waits: as the page saves them. */
async function answers(page, count) {
  await page.waitForFunction(
    (count) => {
      const shown = [...document.querySelectorAll("#cards > li, #many tbody tr")];
      return shown.length === count && !shown.some(({ dataset }) => dataset.state === "waiting");
    },
    { polling: 100 }, // not by frames, which a window in the background may not get
    count,
  );
  return JSON.parse(await saved(page, "#save-json"));
}

/** What a button has the browser save. */
const saved = (page, button) =>
  page.evaluate(async (button) => {
    const make = URL.createObjectURL;
    let kept;
    URL.createObjectURL = (blob) => make.call(URL, (kept = blob));
    document.querySelector(button).click();
    URL.createObjectURL = make;
    return kept.text();
  }, button);

/** Gives the page files as a drop or a paste would. */
const hand = (page, type, name, content) =>
  page.evaluate(
    (type, name, content) => {
      const data = new DataTransfer();
      if (name) data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
      else data.setData("text/plain", content);
      const event = new Event(type, { bubbles: true, cancelable: true }); // a real one can't be made in Firefox
      event[type === "paste" ? "clipboardData" : "dataTransfer"] = data;
      document.body.dispatchEvent(event);
    },
    type,
    name,
    content,
  );

const SAMPLE = readdirSync(`${IMAGES}/sample`).sort();

test("every kind of image is answered, in order, and no other address is asked", async () => {
  const asked = new Set();
  const page = await visit({
    prepare: async (page) => page.on("request", (request) => asked.add(new URL(request.url()).protocol + new URL(request.url()).host)),
  });
  const names = readdirSync(`${IMAGES}/sound`).sort();
  await choose(page, ...names.map((name) => `sound/${name}`));
  const given = await answers(page, names.length);
  assert.deepEqual(given.map(({ file }) => file), names);
  // test_page.py compares these with Python's.
  writeFileSync(`${IMAGES}/answers.json`, JSON.stringify(given));
  for (const inside of ["blob:", "data:"]) asked.delete(inside);
  assert.deepEqual([...asked], [`http:${new URL(address).host}`]);
  const blocked = await page.evaluate(() => fetch("https://example.org/").then(() => "sent", () => "blocked"));
  assert.equal(blocked, "blocked");
});

test("images are taken by drop and by paste, and text is not", async () => {
  const page = await visit();
  const content = readFileSync(`${IMAGES}/sample/${SAMPLE[0]}`, "base64");
  await hand(page, "paste", "", "https://example.org/a.jpg");
  assert.match(await text(page, "#state"), /held no image/);
  assert.ok(await page.$("#state.bad"));
  await hand(page, "drop", "dropped.jpg", content);
  await hand(page, "paste", "pasted.jpg", content);
  assert.deepEqual((await answers(page, 2)).map(({ file }) => file), ["pasted.jpg", "dropped.jpg"]);
  assert.equal(await page.$("#state.bad"), null); // the next success has cleared the message
});

test("a file that is no usable image gets a sentence, and the others their answers", async () => {
  const page = await visit();
  const names = readdirSync(`${IMAGES}/broken`).sort();
  await choose(page, ...names.map((name) => `broken/${name}`), "24_megapixels.jpg");
  const given = await answers(page, names.length + 1);
  const reasons = Object.fromEntries(given.map(({ file, error }) => [file, error?.message]));
  assert.match(reasons["phone.heic"], /HEIC/);
  assert.match(reasons["empty.jpg"], /empty/);
  assert.match(reasons["page.jpg"], /no image/);
  assert.match(reasons["scan.tif"], /TIFF/);
  for (const name of ["truncated.jpg", "progressive.jpg", "truncated.png", "one_bit.png"]) {
    assert.match(reasons[name], /broken or incomplete/, name);
  }
  for (const name of ["200_megapixels.jpg", "200_megapixels.webp"]) {
    assert.match(reasons[name], /16320 × 12240 pixels/); // by its header: what follows is missing
  }
  assert.equal(reasons["24_megapixels.jpg"], undefined);
});

test("none of these and unsure say what they mean, and bars of the former wait behind a click", async () => {
  const page = await visit();
  await page.click("[data-example='cup.jpg']");
  await answers(page, 1); // the newest stands first, so that each waits for the one before
  await choose(page, "unsure.jpg");
  await answers(page, 2);
  const [unsure, none] = await page.$$eval("#cards .answer", (cards) => cards.map((card) => card.innerText));
  assert.match(none, /^None of these\n.*most likely it shows none of its classes.*Show anyway/s);
  assert.doesNotMatch(none, /%/);
  await page.click("#cards summary");
  assert.match(await text(page, "#cards > li:last-child"), /coast\s+[\d.]+ %/);
  assert.match(unsure, /^Unsure, perhaps \w+\n.*No class reaches 80 %.*[\d.]+ %/s);
});

test("many images come as a table with counts, in the order that is asked for, and one larger on a click", async () => {
  const page = await visit();
  await choose(page, ...SAMPLE.map((name) => `sample/${name}`), "broken/empty.jpg");
  const given = await answers(page, SAMPLE.length + 1);
  await says(page, "#counts", /no answer 1\.$/);
  const counts = await text(page, "#counts");
  assert.match(counts, new RegExp(`^${SAMPLE.length + 1} images: \\w+ \\d+, .*no answer 1\\.$`));
  assert.equal(counts.match(/ \d+/g).reduce((sum, number) => sum + Number(number), 0), SAMPLE.length + 1);
  assert.equal(await text(page, "#news"), counts); // read aloud at the end
  assert.ok((await page.evaluate(() => document.body.scrollHeight)) < 2500);

  await page.click("[data-sort='doubt']");
  const shares = await page.$$eval("tbody .share", (cells) => cells.map(({ innerText }) => parseFloat(innerText)).filter(Boolean));
  assert.deepEqual(shares, shares.toSorted((one, other) => one - other));
  assert.equal(shares.length, SAMPLE.length);
  assert.ok(await page.$("th[aria-sort='ascending'] [data-sort='doubt']"));

  const csv = (await saved(page, "#save-csv")).trim().split("\n");
  assert.equal(csv[0], "file,label,in_scope,score,probability_coast,probability_forest,probability_mountain,error");
  assert.equal(csv.length, given.length + 1);
  assert.equal(csv[1].split(",")[1], given[0].label);

  const name = await text(page, "tbody tr:nth-child(2) .name");
  await page.click("tbody tr:nth-child(2) .look");
  await page.waitForFunction(() => document.querySelector("dialog canvas").width === 256);
  assert.equal(await text(page, "dialog h2"), name);
  assert.match(await text(page, "dialog"), /mountain\s+[\d.]+ %/);
  await page.keyboard.press("Escape");
  assert.equal(await page.$("dialog[open]"), null);
});

test("what is new is scrolled to, how far it is read aloud, and Clear cancels what waits", async () => {
  const page = await visit();
  await page.setViewport({ width: 360, height: 640 });
  await choose(page, ...Array(12).fill("24_megapixels.jpg"));
  await says(page, "#news", /^\d+ of 12$/);
  assert.ok(await page.$eval("#answers", (answers) => answers.getBoundingClientRect().top < 640));
  await page.click("#clear");
  assert.equal(await page.$eval("#answers", ({ hidden }) => hidden), true);
  await choose(page, `sample/${SAMPLE[0]}`);
  await says(page, "#news", new RegExp(`^${SAMPLE[0]}: `)); // and not after the twelve
  assert.equal((await answers(page, 1)).length, 1);
});

test("the threshold can be moved, and answers and counts follow", async () => {
  const page = await visit();
  await choose(page, ...SAMPLE.slice(0, 9).map((name) => `sample/${name}`));
  await answers(page, 9);
  await says(page, "#counts", /^9 images/);
  await page.click("#limit summary");
  const move = (value) => page.$eval("#threshold", (slider, value) => {
    slider.value = value ?? slider.max;
    slider.dispatchEvent(new Event("input"));
  }, value);
  await page.focus("#threshold");
  for (let presses = 0; presses < 3; presses++) await page.keyboard.press("PageUp");
  const limit = Number(await text(page, "#limit output"));
  assert.ok(limit > 0);
  await move(5);
  const refused = (await answers(page, 9)).filter((answer) => !answer.in_scope);
  assert.ok(refused.length && refused.every(({ score }) => score < 5));
  assert.match(await text(page, "#counts"), new RegExp(`None of these ${refused.length}`));
  await page.click("#reset");
  assert.equal(await text(page, "#limit output"), "0.0");
});

test("a model of other classes has a page of its own, which names no others", async () => {
  const page = await visit({ site: "other" });
  assert.equal(await page.title(), "2 Straßen, café crème, Ζωγραφιά, गाँव or 草原?");
  assert.equal(await text(page, "h1"), await page.title());
  assert.equal(await page.$("[data-example]"), null);
  await page.click("#about summary");
  await says(page, "#about", /Classes \(5\)\s+2 Straßen, café crème, Ζωγραφιά, गाँव, 草原.*SHA-256 of the file\s+[0-9a-f]{64}/);
  await choose(page, "colours/café crème.jpg", "colours/草原.jpg", "colours/other.jpg");
  const given = await answers(page, 3);
  assert.deepEqual(given.map(({ label, in_scope: inScope }) => inScope && label), ["café crème", "草原", false]);
  assert.doesNotMatch(await page.content(), /coast|forest|mountain/i);
});

test("the camera is answered live, an answer can be kept, and the camera is let go", async () => {
  const page = await visit({ camera: true });
  await page.click("#open-camera");
  await page.waitForSelector("#camera .answer[data-label]");
  assert.match(await text(page, "#camera .name"), /answers per second/);
  await page.click("#keep");
  await answers(page, 1);
  assert.equal(await text(page, "#cards .name"), "Camera 1");
  await says(page, "#news", /^(Kept as Camera 1|Camera): /);
  await page.click("#close-camera");
  assert.equal(await page.$eval("#camera", ({ hidden }) => hidden), true);
  assert.equal(await page.$eval("video", ({ srcObject }) => srcObject), null);
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-camera");
});

test("a camera that may not be used gets a sentence", async () => {
  const page = await visit({ prepare: (page) => page.evaluateOnNewDocument(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      await new Promise((resolve) => setTimeout(resolve, 50)); // as somebody who is asked
      throw new DOMException("", "NotAllowedError");
    };
  }) });
  await page.focus("#open-camera");
  await page.keyboard.press("Enter");
  await says(page, "#state.bad", /permission was not given/);
  assert.equal(await page.$eval("#open-camera", (button) => button.disabled), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-camera");
});

test("what keeps the model from starting gets a sentence", chromiumOnly, async () => {
  const refuse = (part, response) => async (page) => {
    await page.setRequestInterception(true);
    page.on("request", (request) => (request.url().endsWith(part) ? request.respond(response) : request.continue()));
  };
  const settled = () => document.querySelector("#state.bad") || /too old/.test(document.querySelector("#state").innerText);
  const remove = (code) => (page) => page.evaluateOnNewDocument(code);
  const cases = [
    [remove("delete window.WebAssembly"), /no WebAssembly/],
    [remove("delete window.OffscreenCanvas"), /too old/],
    [refuse("worker.js", { status: 200, contentType: "text/javascript", body: "postMessage({ honest: false })" }), /canvas data/],
    [refuse(".tflite", { status: 404 }), /model did not load: the server answered 404/],
    [refuse(".tflite", { status: 200, body: "<!doctype html>" }), /no TFLite model/],
    [refuse("litert_wasm_internal.js", { status: 404 }), /LiteRT.js, did not load/],
    [refuse("litert_wasm_internal.wasm", { status: 404 }), /LiteRT.js, did not load/],
    [refuse("resize.js", { status: 404 }), /part of the page is missing/],
    [refuse("decode.js", { status: 404 }), /a file is missing/],
    [refuse("app.js", { status: 200, contentType: "text/javascript", body: "a syntax of the future" }), /browser is too old/],
  ];
  for (const [prepare, sentence] of cases) {
    const page = await visit({ prepare, wait: "body" });
    await page.waitForFunction(settled, { timeout: 20_000 }).catch(() => {});
    assert.match(await text(page, "main"), sentence);
    await page.browserContext().close();
  }
});

test("without JavaScript it says so, and neither loads nor offers anything", chromiumOnly, async () => {
  const page = await visit({ prepare: (page) => page.setJavaScriptEnabled(false), wait: "body" });
  assert.match(await text(page, "main"), /^JavaScript is switched off[^\n]*$/);
});

test("a slow line shows bytes, and a stalled one a hint", async () => {
  const page = await visit({
    wait: "body",
    prepare: (page) =>
      page.evaluateOnNewDocument(() => {
        const [fetch_, setTimeout_] = [window.fetch, window.setTimeout];
        window.fetch = async (url, options) =>
          String(url).endsWith(".tflite")
            ? new Response(new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(1_200_000)) }))
            : fetch_(url, options);
        window.setTimeout = (task, delay) => setTimeout_(task, delay / 5);
      }),
  });
  await says(page, "#state", /^Loading the model: 1\.2 of 3\.8 MB/);
  await says(page, "#state", /Nothing has come for a while: check the connection/);
});

test("nothing is cut off, split or too small, on a phone or a desktop, with large text", async () => {
  const page = await visit({ camera: true });
  for (const [before, example] of ["coast_08.jpg", "cup.jpg"].entries()) {
    await page.click(`[data-example='${example}']`);
    await answers(page, before + 1);
  }
  await choose(page, "unsure.jpg", "broken/empty.jpg");
  await answers(page, 4);
  for (const summary of ["#cards", "#limit", "#about"]) await page.click(`${summary} summary`);
  const look = async (state) => {
    for (const width of [320, 360, 768, 1440]) {
      for (const size of [100, 150, 200]) {
        await page.setViewport({ width, height: 800 });
        const found = await page.evaluate((size) => {
          document.documentElement.style.fontSize = `${size}%`;
          const splits = [];
          for (const element of document.querySelectorAll("h1, #answers h2, h3, p, button, summary, label, .bars span, td.label span, dt")) {
            for (const node of element.checkVisibility() ? element.childNodes : []) {
              if (node.nodeType !== Node.TEXT_NODE) continue;
              for (const { 0: word, index } of node.data.matchAll(/[^\s_.-]+/g)) {
                const range = document.createRange();
                range.setStart(node, index);
                range.setEnd(node, index + word.length);
                if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) splits.push(word);
              }
            }
          }
          const bars = [...document.querySelectorAll(".track")].filter((bar) => bar.checkVisibility()).map((bar) => bar.clientWidth);
          const { scrollWidth, clientWidth } = document.documentElement;
          return { over: scrollWidth - clientWidth, splits, bar: Math.min(999, ...bars) };
        }, size);
        const where = `${state}, ${width} pixels, ${size} %`;
        assert.equal(found.over, 0, where);
        assert.deepEqual(found.splits, [], where);
        assert.ok(found.bar >= 100, `${where}: a bar of ${found.bar} pixels`);
      }
    }
  };
  await look("cards");
  await choose(page, ...SAMPLE.slice(0, 9).map((name) => `sample/${name}`));
  await answers(page, 13);
  await look("table");
  await page.click("tbody .look");
  await page.waitForSelector("dialog .bars");
  await look("larger view");
});

test("axe finds no fault, light or dark, on a phone or a desktop", chromiumOnly, async () => {
  const page = await visit({ camera: true, prepare: (page) => page.setBypassCSP(true) });
  const check = async () => {
    await page.evaluate(AXE);
    for (const value of ["light", "dark"]) {
      for (const width of [320, 1200]) {
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
        await page.setViewport({ width, height: 800 });
        const { violations } = await page.evaluate(() => axe.run());
        assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
      }
    }
  };
  for (const example of ["coast_08.jpg", "cup.jpg"]) await page.click(`[data-example='${example}']`);
  await choose(page, "broken/empty.jpg");
  await answers(page, 3);
  for (const summary of ["#cards", "#limit", "#about"]) await page.click(`${summary} summary`);
  await page.click("#open-camera");
  await page.waitForSelector("#camera .answer[data-label]");
  await check();
  await page.click("#close-camera");
  await choose(page, ...SAMPLE.slice(0, 9).map((name) => `sample/${name}`));
  await answers(page, 12);
  await page.click("[data-sort='score']");
  await check();
  await page.click("tbody .look");
  await check();
});

test("it works by keyboard, and what it answers is announced", chromiumOnly, async () => {
  const page = await visit();
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.dataset.example);
  const reached = [];
  for (let presses = 0; presses < 6; presses++) {
    await page.keyboard.press("Tab");
    reached.push(await focused());
  }
  assert.deepEqual(reached, ["choose", "open-camera", "coast_08.jpg", "forest_06.jpg", "mountain_22.jpg", "cup.jpg"]);
  await page.keyboard.press("Enter");
  await answers(page, 1);
  await says(page, "#news", /^cup\.jpg: None of these\.$/);
  for (let presses = 0; presses < 6 && (await focused()) !== "clear"; presses++) await page.keyboard.press("Tab");
  assert.equal(await focused(), "clear");
  await page.keyboard.press("Enter");
  assert.equal(await page.$eval("#answers", ({ hidden }) => hidden), true);
  assert.equal(await focused(), "choose");
});

test("memory stays flat over 500 images", chromiumOnly, async () => {
  const page = await visit();
  const session = await page.createCDPSession();
  const used = async () => {
    await session.send("HeapProfiler.collectGarbage");
    return page.evaluate(() => performance.memory.usedJSHeapSize);
  };
  const round = async () => {
    await choose(page, ...Array.from({ length: 125 }, (_, number) => `sample/${SAMPLE[number % SAMPLE.length]}`));
    await answers(page, 125);
    await page.click("#clear");
    return used();
  };
  const [first, , , last] = [await round(), await round(), await round(), await round()];
  assert.ok(last < first + 3e6, `${first} bytes after 125 images, ${last} after 500`);
});

test("pages on one origin keep their copies apart, and work without their server", chromiumOnly, async () => {
  const page = await visit({ wait: "[data-offline]" });
  await page.goto(`${address}/other/`);
  await page.waitForSelector("[data-offline]");
  const port = new URL(address).port;
  server.kill();
  await once(server, "exit");
  try {
    for (const [site, label] of [["page", "Coast"], ["other", "2 Straßen"]]) {
      await page.goto(`${address}/${site}/`);
      await page.waitForSelector("[data-ready]");
      assert.ok((await text(page, "h1")).startsWith(label));
    }
  } finally {
    [server] = await serve(SITES, port);
  }
});

test("it takes a new version whole or not at all, and offers to load it", chromiumOnly, async () => {
  const page = await visit({ wait: "[data-offline]" });
  await page.reload();
  await page.waitForSelector("[data-ready]");
  const newer = `${SITES}.newer`;
  cpSync(SITES, newer, { recursive: true });
  const style = `${newer}/page/style.css`;
  const digest = () => `sha256-${createHash("sha256").update(readFileSync(style)).digest("base64")}`;
  const [list, older] = [readFileSync(`${newer}/page/files.js`, "utf8"), digest()];
  const update = async (said) => {
    appendFileSync(style, "h1 { letter-spacing: 7px }");
    writeFileSync(`${newer}/page/files.js`, list.replace(older, said ?? digest()));
    server.kill();
    await once(server, "exit");
    [server] = await serve(newer, new URL(address).port);
    return page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      await registration.update().catch(() => {});
      const worker = registration.installing;
      const settled = () => /activated|redundant/.test(worker.state);
      while (!settled()) await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
      return worker.state;
    });
  };
  assert.equal(await update(`sha256-${"A".repeat(43)}=`), "redundant"); // of yet another version
  assert.equal(await page.$eval("#newer", ({ hidden }) => hidden), true);
  assert.equal(await update(), "activated");
  await page.waitForSelector("#newer:not([hidden])");
  await Promise.all([page.waitForNavigation(), page.click("#newer button")]);
  await page.waitForSelector("[data-ready]");
  assert.equal(await page.$eval("h1", (title) => getComputedStyle(title).letterSpacing), "7px");
});

// The page that the Lambda function answers to browsers, in front of a service that says what the test has it say.
test("the upload page says the same, and fits a phone with large text", async () => {
  let answer;
  const service = createServer((request, response) => {
    if (request.method === "GET") return response.end(readFileSync(UPLOAD_PAGE));
    request.resume();
    request.on("end", () => response.end(JSON.stringify(answer)));
  });
  await once(service.listen(0, "127.0.0.1"), "listening");
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${service.address().port}/`);
  const ask = async (name, given, said) => {
    answer = given;
    await (await page.$("input")).uploadFile(`${IMAGES}/${name}`);
    await says(page, "[role=status]", said);
  };
  const probabilities = { "café crème": 0.55, "a mountain of snow": 0.45 };
  await ask("unsure.jpg", { label: "café crème", probabilities, in_scope: true }, /^Unsure, perhaps café crème.*look for yourself.*55.0 %/);
  await ask("unsure.jpg", { label: "café crème", probabilities: { "café crème": 0.95, other: 0.05 }, in_scope: true }, /^café crème.*95.0 %/);
  await ask("broken/empty.jpg", {}, /^The file is empty\.$/);
  await ask("broken/phone.heic", {}, /HEIC image.*Most Compatible/);
  assert.ok(await page.$("[role=status] .bad"));
  await ask("unsure.jpg", { error: { message: "It is broken." } }, /^It is broken\.$/);
  await ask("unsure.jpg", { label: "café crème", probabilities, in_scope: false }, /^None of these.*most likely it shows none of its classes\.\s+Show anyway$/);
  await page.click("summary");
  await says(page, "[role=status]", /55.0 %/);
  await page.setViewport({ width: 360, height: 640 });
  await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
  assert.ok(await page.$("main h1"));
  if (BROWSER === "chromium") {
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    await page.setJavaScriptEnabled(false);
    await page.reload();
    assert.match(await text(page, "main"), /JavaScript is switched off/);
  }
  await context.close();
  service.close();
});
