// Compare the built page in headless Chromium with the `voxmood` command on PATH. The page is served
// as the README says. RECORDINGS=folder adds 16 kHz WAV files; SCREENSHOTS=folder saves pictures.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const RATE = 16000;
const HELLO = here("../hello.wav");
const QUIET =
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const FAKE_MICROPHONE = `--use-fake-device-for-media-stream --use-file-for-fake-audio-capture=${HELLO}`;

const folder = mkdtempSync(join(tmpdir(), "voxmood-web-"));
const requests = [];
let server, origin, browser;

before(async () => {
  execFileSync("node", [here("build.js")]);
  server = spawn("python3", ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", here("dist")], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const greeting = await new Promise((resolve, reject) => {
    server.stdout.once("data", resolve); // the pipe stays open, or the server would end
    server.once("exit", () => reject(new Error("the server did not start")));
  });
  origin = `http://127.0.0.1:${/port (\d+)/.exec(greeting)[1]}`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [...QUIET.split(" "), ...FAKE_MICROPHONE.split(" ")],
  });
});

after(async () => {
  await browser?.close();
  server?.kill();
  rmSync(folder, { recursive: true });
});

/** Opens a new page, records its requests, and waits until its model is loaded or has failed. */
async function open({ query = "", route, ...options } = {}) {
  const context = await browser.newContext(options);
  context.on("request", (request) => requests.push(request.url()));
  const page = await context.newPage();
  if (route) await page.route(...route);
  await page.goto(`${origin}/${query}`);
  await said(page, /^Ready\.$|^The model/);
  return page;
}

async function said(page, pattern) {
  const status = page.locator("#status");
  await status.filter({ hasText: pattern }).waitFor({ timeout: 30000 });
  return status.textContent();
}

async function label(page, path) {
  await page.setInputFiles("#file", path);
  await page.locator("#status:not(.wrong)", { hasText: /^$|means nothing/ }).waitFor();
  await page.locator("#source", { hasText: basename(path) }).waitFor();
  return page.$$eval("[role=meter]", (bars) =>
    Object.fromEntries(bars.map((bar) => [bar.ariaLabel, Number(bar.ariaValueNow)])),
  );
}

/** Writes channels of samples (-1 to 1) as a 16-bit WAV file. */
function wav(name, channels, rate = RATE) {
  const [count, frames] = [channels.length, channels[0].length];
  const bytes = Buffer.alloc(44 + 2 * count * frames);
  bytes.write("RIFF");
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write("WAVEfmt ", 8);
  [16, 1 | (count << 16), rate, rate * 2 * count, (2 * count) | (16 << 16)].forEach((value, i) =>
    bytes.writeUInt32LE(value, 16 + 4 * i),
  );
  bytes.write("data", 36);
  bytes.writeUInt32LE(bytes.length - 44, 40);
  channels.forEach((channel, c) =>
    channel.forEach((sample, i) => bytes.writeInt16LE(Math.round(32767 * sample), 44 + 2 * (i * count + c))),
  );
  return write(name, bytes);
}

function write(name, content) {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function recordings() {
  const bytes = readFileSync(HELLO).subarray(44);
  const hello = Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i) / 32768);
  const whole = [...hello, ...hello].slice(0, 5 * RATE);
  const slower = Float32Array.from(hello, (_, i) => hello[Math.floor(0.8 * i)]);
  const more = process.env.RECORDINGS;
  return [
    HELLO,
    wav("five seconds.wav", [whole]),
    wav("short.wav", [hello.slice(8000, 24000)]),
    wav("quiet.wav", [hello.map((sample) => 0.05 * sample)]),
    wav("slower.wav", [slower]),
    wav("stereo.wav", [hello, hello.map((_, i) => 0.5 * hello[Math.max(0, i - 4000)])]),
    ...(more ? readdirSync(more).filter((name) => name.endsWith(".wav")).map((name) => join(more, name)) : []),
  ];
}

function python(paths, precision) {
  const bundle = here("../../../models/voxmood-small/bundle");
  const lines = execFileSync("voxmood", ["predict", "--json", "--model", `${bundle}@${precision}`, ...paths]);
  return lines.toString().trim().split("\n").map((line) => JSON.parse(line).probabilities);
}

function distance(some, others) {
  return Math.max(...some.flatMap((row, i) => Object.keys(others[i]).map((key) => Math.abs(row[key] - others[i][key]))));
}

const paths = recordings();

test("says what the Python runtime says", async (t) => {
  const web = {};
  for (const precision of ["fp32", "int8"]) {
    const page = await open({ query: `?precision=${precision}` });
    web[precision] = [];
    for (const path of paths) web[precision].push(await label(page, path));
  }
  const [fp32, int8] = [python(paths, "fp32"), python(paths, "int8")];
  const found = {
    fp32: distance(web.fp32, fp32),
    int8: distance(web.int8, int8),
    drift: distance(int8, fp32),
  };
  t.diagnostic(`${paths.length} recordings, largest difference of a probability: ${JSON.stringify(found)}`);
  assert.ok(found.fp32 < 1e-3);
  assert.ok(found.int8 <= 2 * found.drift);
});

test("a new page labels and shows it", async (t) => {
  const page = await open({ viewport: { width: 1000, height: 860 } });
  const start = performance.now();
  await label(page, paths[1]); // five seconds.wav
  t.diagnostic(`first label of 5 s of audio after ${Math.round(performance.now() - start)} ms`);
  await picture(page, "light");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "dark");
  await page.setViewportSize({ width: 360, height: 780 });
  await picture(page, "phone");
});

test("resamples, mixes down and drops", async () => {
  const page = await open();
  const tone = Float32Array.from({ length: 2 * 44100 }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 440 * i) / 44100));
  await label(page, wav("tone at 44.1 kHz.wav", [tone, tone], 44100));
  assert.match(await page.textContent("#facts"), /^2\.0 s of audio/);

  await page.evaluate(async () => {
    const transfer = new DataTransfer();
    const hello = await (await fetch("hello.wav")).blob();
    transfer.items.add(new File([hello], "<img src=x onerror=alert(1)>.wav"));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  });
  await page.locator("#source", { hasText: "<img src=x" }).waitFor();
  await page.click("#example");
  await page.locator("#source", { hasText: "hello.wav" }).filter({ hasNotText: "<" }).waitFor();
});

test("says what is wrong with a recording", async () => {
  const page = await open({ viewport: { width: 1000, height: 860 } });
  await label(page, HELLO);
  const second = new Float32Array(RATE);
  for (const [path, message] of [
    [write("notes.txt", "Not a recording."), /^notes\.txt cannot be read as audio/],
    [write("empty.wav", ""), /^empty\.wav cannot be read as audio/],
    [write("cut.wav", readFileSync(HELLO).subarray(0, 30)), /^cut\.wav cannot be read as audio/],
    [wav("click.wav", [second.slice(0, 399)]), /^click\.wav is too short: 0\.0249 s, and the model needs 0\.0559 s/],
    [wav("header.wav", [second.slice(0, 0)]), /^header\.wav is too short: 0\.0000 s/],
    [wav("talk.wav", [new Float32Array(61 * RATE)]), /^talk\.wav is too long: 61\.0 s.* 60\.0 s at once/],
  ]) {
    await page.setInputFiles("#file", path);
    await said(page, message);
    assert.ok(await page.locator("#status.wrong").count());
    if (basename(path) === "notes.txt") await picture(page, "error");
  }
  await label(page, wav("silence.wav", [second]));
  await said(page, /silence\.wav is silent/);
});

test("says what is wrong with the model", async () => {
  const body = { status: 404, body: "" };
  for (const [route, message] of [
    [["**/bundle.json", (route) => route.fulfill(body)], /^The model is missing: bundle\/bundle\.json \(status 404\)/],
    [["**/*.onnx", (route) => route.abort()], /^The model is missing: bundle\/model\.int8\.onnx \(no answer\)/],
    [["**/*.onnx", (route) => route.fulfill({ body: "damaged" })], /^The model is damaged: model\.int8\.onnx/],
    [["**/ort/*", (route) => route.fulfill(body)], /^The model needs onnxruntime-web/],
  ]) {
    const page = await open({ route });
    await said(page, message);
    assert.ok(await page.locator("#file").isDisabled());
  }
  await said(await open({ query: "?precision=int4" }), /^The model has no precision int4; it has fp32/);
});

test("says that an answer is unsure", async () => {
  const bundle = JSON.parse(readFileSync(here("dist/bundle/bundle.json")));
  for (const [threshold, unsure] of [[1, true], [0, false]]) {
    const json = { ...bundle, calibration: { thresholds: Array(99).fill(threshold) } };
    const page = await open({ route: ["**/bundle.json", (route) => route.fulfill({ json })] });
    await label(page, HELLO);
    assert.equal(/^unsure, perhaps /.test(await page.textContent("#label")), unsure);
    if (unsure) await picture(page, "unsure");
  }
});

test("labels the microphone until it is stopped", async () => {
  const page = await open({ permissions: ["microphone"] });
  await page.click("#microphone");
  await page.locator("#facts", { hasText: /^[2-9]/ }).waitFor();
  await picture(page, "microphone");
  await page.click("#microphone");
  const facts = await page.textContent("#facts");
  await page.waitForTimeout(1500);
  assert.equal(await page.textContent("#facts"), facts);
  assert.equal(await page.textContent("#microphone"), "Use the microphone");
});

test("says that it may not use the microphone", async () => {
  const page = await open();
  await page.click("#microphone");
  await said(page, /^The microphone may not be used/);
});

test("no request leaves the origin", async () => {
  assert.ok(requests.length > 50);
  assert.deepEqual(requests.filter((url) => new URL(url).origin !== origin), []);
  const page = await open();
  const refused = await page.evaluate(async () => {
    const violation = new Promise((resolve) => document.addEventListener("securitypolicyviolation", resolve));
    await fetch("https://example.com").catch(() => {});
    return (await violation).effectiveDirective;
  });
  assert.equal(refused, "connect-src");
});

async function picture(page, name) {
  if (!process.env.SCREENSHOTS) return;
  await page.mouse.move(0, 0);
  await page.waitForTimeout(400); // the bars are animated
  await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
}
