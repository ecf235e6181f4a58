// The page labels a file that is dropped or chosen, or the microphone, and draws the result.
// Options in the address: ?precision=fp32
import { VoxmoodError, decode, load, resample } from "./voxmood.js";

const WINDOW = 5; // seconds of the microphone that one label covers
const HOP = 1; // seconds between labels
const SILENCE = 1e-3; // audio is silent if no sample is above -60 dB of full scale

const element = (id) => document.getElementById(id);
const options = new URLSearchParams(location.search);
let model;
let listening; // the function that stops the microphone, while it is on
let latest = 0; // number of the last job; results of earlier ones, which may come late, are ignored

function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

/** Runs a job for a control, and shows an error instead of throwing it. */
async function attempt(name, work) {
  const turn = ++latest;
  try {
    await work(() => turn === latest);
  } catch (error) {
    if (!(error instanceof VoxmoodError)) console.error(error);
    if (turn !== latest) return;
    element("result").classList.add("stale");
    const cause = error instanceof VoxmoodError ? error.message : `failed (${error.message}).`;
    say(`${name} ${cause}`, true);
  }
}

function label(file) {
  stopListening();
  return attempt(file.name, async (current) => {
    say(`Listening to ${file.name}…`);
    const waveform = await decode(file, model.bundle.sampling_rate);
    const start = performance.now();
    const prediction = await model.predict(waveform);
    if (!current()) return;
    show(prediction, waveform, file.name, performance.now() - start);
    say(isSilent(waveform) ? `${file.name} is silent, so the answer means nothing.` : "");
  });
}

function listen() {
  return attempt("The microphone", async (current) => {
    const stream = await navigator.mediaDevices
      ?.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
      .catch((error) => {
        throw new VoxmoodError(
          error.name === "NotAllowedError"
            ? "may not be used by this page; allow it in the browser's settings for this site."
            : `cannot be used (${error.message}). Connect one, or choose a file.`,
        );
      });
    if (!stream) throw new VoxmoodError("can be used on https:// and localhost only.");
    const context = new AudioContext();
    const stop = () => {
      stream.getTracks().forEach((track) => track.stop());
      context.close();
    };
    if (!current()) return stop();
    listening = stop;
    element("microphone").setAttribute("aria-pressed", "true");
    element("microphone").textContent = "Stop";
    say(`Listening… a label for the last ${WINDOW} s, every ${HOP} s.`);

    await context.audioWorklet.addModule("recorder.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(recorder);
    const rate = context.sampleRate;
    let recent = [];
    let fresh = 0; // samples since the last label
    let busy = false;
    recorder.port.onmessage = async ({ data: chunk }) => {
      recent.push(chunk);
      fresh += chunk.length;
      while ((recent.length - 1) * chunk.length >= WINDOW * rate) recent.shift();
      if (busy || fresh < HOP * rate || !current()) return;
      busy = true;
      fresh = 0;
      await attemptWindow(recent.slice());
      busy = false;
    };

    async function attemptWindow(chunks) {
      try {
        const heard = new Float32Array(await new Blob(chunks).arrayBuffer());
        const waveform = await resample(heard, rate, model.bundle.sampling_rate);
        if (isSilent(waveform)) { // the model is not run, since its answer would mean nothing
          if (!current()) return;
          element("result").classList.add("stale");
          say("Silence; is the microphone muted?");
          return;
        }
        const start = performance.now();
        const prediction = await model.predict(waveform);
        if (!current()) return;
        show(prediction, waveform, "microphone", performance.now() - start);
        say("Listening…");
      } catch (error) {
        if (current()) {
          stopListening();
          say(`The microphone ${error.message}`, true);
        }
      }
    }
  });
}

function stopListening() {
  if (!listening) return;
  latest++; // the result of a window that is still being labeled is ignored
  listening();
  listening = undefined;
  element("microphone").setAttribute("aria-pressed", "false");
  element("microphone").textContent = "Use the microphone";
  say("");
}

function isSilent(waveform) {
  return waveform.every((sample) => Math.abs(sample) < SILENCE);
}

function show({ label, numbers, unsure }, waveform, source, milliseconds) {
  const { sampling_rate: rate, name } = model.bundle;
  element("result").hidden = false;
  element("result").classList.remove("stale");
  element("label").textContent = unsure ? `unsure, perhaps ${label}` : (label ?? "");
  element("result").classList.toggle("unsure", unsure);
  element("source").textContent = source;
  element("facts").textContent =
    `${(waveform.length / rate).toFixed(1)} s of audio, labeled in ${Math.round(milliseconds)} ms by ${name} (${model.precision})`;
  element("waveform").firstElementChild.setAttribute("d", outline(waveform, 400));
  for (const row of element("bars").children) {
    const number = numbers.get(row.dataset.label);
    row.classList.toggle("first", row.dataset.label === label);
    row.children[1].style.setProperty("--value", Math.min(1, Math.max(0, number)));
    row.children[1].ariaValueNow = number;
    row.children[2].textContent = label === null ? number.toFixed(3) : `${(100 * number).toFixed(1)} %`;
  }
}

/** Returns the path of a waveform: a vertical line from minimum to maximum in each column. */
function outline(waveform, columns) {
  const peak = Math.max(1e-6, waveform.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  const step = waveform.length / columns;
  return Array.from({ length: columns }, (_, column) => {
    const part = waveform.subarray(Math.floor(column * step), Math.ceil((column + 1) * step));
    const [low, high] = [Math.min(...part), Math.max(...part)];
    return `M${column + 0.5} ${-high / peak}V${-low / peak + 0.01}`;
  }).join("");
}

function row(label) {
  const item = document.createElement("li");
  item.dataset.label = label;
  const name = document.createElement("span");
  name.textContent = label;
  const bar = document.createElement("div");
  Object.assign(bar, { role: "meter", ariaLabel: label, ariaValueMin: 0, ariaValueMax: 1 });
  item.append(name, bar, document.createElement("output"));
  return item;
}

const controls = ["file", "microphone", "example"].map(element);

await attempt("The model", async () => {
  say("Loading the model…");
  model = await load("bundle", options.get("precision") ?? undefined);
  const { name, labels, licence } = model.bundle;
  const size = Object.values(model.bundle.precisions[model.precision].files).reduce((sum, file) => sum + file.bytes, 0);
  element("bars").append(...labels.map(row));
  element("model").textContent = `${name}, ${model.precision}, ${(size / 1e6).toFixed(1)} MB, ${licence}; ONNX Runtime Web`;
  controls.forEach((control) => (control.disabled = false));
  say("Ready.");
});

element("file").onchange = ({ target }) => {
  if (target.files.length) label(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
element("microphone").onclick = () => (listening ? stopListening() : listen());
element("example").onclick = () =>
  attempt("The example", async () => {
    const response = await fetch("hello.wav");
    if (!response.ok) throw new VoxmoodError(`is missing (status ${response.status}).`);
    await label(new File([await response.blob()], "hello.wav"));
  });

const drop = element("drop");
document.ondragover = (event) => {
  event.preventDefault(); // otherwise the browser would open the file
  drop.classList.add("over");
};
document.ondragleave = () => drop.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (!model) return;
  const [file] = event.dataTransfer.files;
  if (file) label(file);
  else say("That is not a file; drop a recording.", true);
};
