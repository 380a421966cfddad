// Drives the page for benchmark.py, which sends steps as JSON, [{"do": NAME, ...}, ...], and gets what each gives.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const [packages, chromium, address] = process.argv.slice(2);
const puppeteer = createRequire(`${packages}/`)("puppeteer-core");
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox"],
});
let page;

const commands = {
  /** Opens the page in a new profile, or again in the same one; milliseconds until it is ready, and the browser. */
  async visit({ again = false }) {
    if (!again) {
      await page?.browserContext().close();
      page = await (await browser.createBrowserContext()).newPage();
    }
    await page.goto(address);
    const milliseconds = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const look = () => ("ready" in document.documentElement.dataset ? resolve(performance.now()) : setTimeout(look));
          look();
        }),
    );
    await page.waitForSelector("[data-offline]");
    return { milliseconds, browser: await browser.version() };
  },

  /** Answers of files, as the page saves them; of a single one the milliseconds that the page shows. */
  async answers({ files }) {
    const input = await page.$("#files");
    await input.uploadFile(...files);
    const done = "#answers [data-state=answered], #answers [data-state=failed]";
    await page.waitForFunction((done, count) => document.querySelectorAll(done).length === count, { timeout: 120_000 }, done, files.length);
    const given = await page.evaluate(async () => {
      const create = URL.createObjectURL;
      const saved = await new Promise((resolve) => {
        URL.createObjectURL = (blob) => (resolve(blob), create.call(URL, blob));
        document.querySelector("#save-json").click();
      });
      URL.createObjectURL = create;
      const [, milliseconds] = /([\d.]+) ms/.exec(document.querySelector("#answers .time")?.textContent) ?? [];
      return { answers: JSON.parse(await saved.text()), milliseconds: Number(milliseconds) };
    });
    await page.click("#clear");
    return given;
  },

  /** A picture of the page with the drawn examples answered. */
  async screenshot({ path }) {
    await commands.visit({});
    await page.setViewport({ width: 960, height: 720 });
    const examples = await page.$$("[data-example]");
    for (const example of examples) await example.click();
    await page.waitForFunction((count) => document.querySelectorAll("#answers [data-state=answered]").length === count, {}, examples.length);
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path, fullPage: true });
    await page.click("#clear");
    return path;
  },
};

const browserSession = await browser.target().createCDPSession();
await browserSession.send("Browser.setDownloadBehavior", { behavior: "deny" }); // what the page saves is read in the page

const results = [];
for (const { do: name, ...options } of JSON.parse(await text(process.stdin))) results.push(await commands[name](options));
console.log(JSON.stringify(results));
await browser.close();
