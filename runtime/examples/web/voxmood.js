// Run a voxmood bundle in the browser: load it, convert audio to its sampling rate, predict.
// Except for decoding and resampling, everything that the model needs is in its graph.

/** An error in a recording or a bundle. Its message continues a sentence that begins with the name. */
export class VoxmoodError extends Error {}

const MAX_FILE_BYTES = 100e6; // a minute of stereo at 192 kHz in 32-bit samples
const COVERAGE = 90; // percent of the sets that say whether an answer is unsure; the first threshold is of 1 %

/**
 * Loads a bundle from a folder of this origin.
 * @param {string} url URL of the folder
 * @param {string} [precision] precision to load; by default int8 if the bundle has it, else fp32
 */
export async function load(url, precision) {
  const bundle = await (await get(`${url}/bundle.json`)).json();
  if (bundle.schema > 2) throw new VoxmoodError(`has schema ${bundle.schema}, but this page reads schemas up to 2.`);
  bundle.task ??= "classification"; // of schema 1
  const names = Object.keys(bundle.precisions);
  precision ??= ["int8", "fp32", ...names].find((name) => names.includes(name));
  if (!names.includes(precision)) {
    throw new VoxmoodError(`has no precision ${precision}; it has ${names.join(", ")}.`);
  }
  const ort = await import("./ort/ort.wasm.bundle.min.mjs").catch(() => {
    throw new VoxmoodError("needs onnxruntime-web; build the page: npm ci && npm run build");
  });
  ort.env.wasm.numThreads = 1; // more threads would need cross-origin isolation
  ort.env.wasm.proxy = true; // run in a worker, so that the page stays responsive
  const files = await Promise.all(
    Object.entries(bundle.precisions[precision].files).map(async ([name, facts]) => {
      const bytes = await (await get(`${url}/${name}`)).arrayBuffer();
      // On plain http, crypto.subtle exists for localhost only.
      if (bytes.byteLength !== facts.bytes || (crypto.subtle && (await sha256(bytes)) !== facts.sha256)) {
        throw new VoxmoodError(`is damaged: ${name} has another size or SHA-256 than bundle.json says. Copy it again.`);
      }
      return { path: name, data: new Uint8Array(bytes) };
    }),
  );
  const graph = files.findIndex((file) => file.path.endsWith(".onnx"));
  const [{ data }] = files.splice(graph, 1);
  const session = await ort.InferenceSession.create(data, {
    executionProviders: ["wasm"],
    externalData: files,
    extra: bundle.session_options,
  });
  return new Model(ort, session, bundle, precision);
}

class Model {
  #ort;
  #session;

  constructor(ort, session, bundle, precision) {
    this.#ort = ort;
    this.#session = session;
    this.bundle = bundle;
    this.precision = precision;
  }

  /**
   * Labels a waveform.
   * @param {Float32Array} waveform mono samples from -1 to 1, at the bundle's sampling rate
   * @returns {Promise<{label: string | null, numbers: Map<string, number>, unsure: boolean}>} the
   *   most probable label with the probability of each; of a regression no label, and each value by
   *   its name. It is unsure if the bundle is calibrated, and its set of 90 % has several labels.
   */
  async predict(waveform) {
    const { task, labels, sampling_rate: rate, min_samples: min, max_samples: max } = this.bundle;
    if (waveform.length < min) {
      throw new VoxmoodError(`is too short: ${seconds(waveform.length / rate)}, and the model needs ${seconds(min / rate)}.`);
    }
    if (waveform.length > max) {
      throw new VoxmoodError(`is too long: ${seconds(waveform.length / rate)}, and the model takes ${seconds(max / rate)} at once. Cut out a part of it.`);
    }
    if (!waveform.every(Number.isFinite)) {
      throw new VoxmoodError("contains samples that are not finite numbers; export the file again.");
    }
    const { Tensor } = this.#ort;
    const output = task === "regression" ? "values" : "probabilities";
    const outputs = await this.#session.run(
      {
        waveform: new Tensor("float32", waveform.slice(), [1, waveform.length]), // a copy, because it moves to the worker
        lengths: new Tensor("int64", BigInt64Array.of(BigInt(waveform.length)), [1]),
      },
      [output],
    );
    const values = [...outputs[output].data];
    const numbers = new Map(labels.map((label, index) => [label, values[index]]));
    const { thresholds } = this.bundle.calibration ?? {};
    return {
      label: task === "regression" ? null : labels[values.indexOf(Math.max(...values))],
      numbers,
      unsure: thresholds ? candidates(numbers, thresholds[COVERAGE - 1]).length > 1 : false,
    };
  }
}

/**
 * Returns the labels that hold the true one as often as a threshold of the bundle promises: in the
 * order of their probability, until those before have more of it together than the threshold.
 */
export function candidates(probabilities, threshold) {
  const ordered = [...probabilities].sort(([, one], [, other]) => other - one);
  let before = 0;
  return ordered.flatMap(([label, probability]) => {
    const inside = Math.min(before, 1) <= threshold;
    before += probability;
    return inside ? [label] : [];
  });
}

/**
 * Decodes a file to a waveform: the mean of its channels, resampled by the browser.
 * @param {Blob} file the file
 * @param {number} rate sampling rate of the waveform in Hz
 * @returns {Promise<Float32Array>}
 */
export async function decode(file, rate) {
  if (file.size > MAX_FILE_BYTES) {
    throw new VoxmoodError(`is larger than ${MAX_FILE_BYTES / 1e6} MB. Cut out a part of it.`);
  }
  const bytes = await file.arrayBuffer();
  const channels = channelsOfWav(bytes, rate) ?? (await channelsOf(bytes, rate));
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
}

async function channelsOf(bytes, rate) {
  try {
    const audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
    return Array.from({ length: audio.numberOfChannels }, (_, channel) => audio.getChannelData(channel));
  } catch {
    throw new VoxmoodError("cannot be read as audio by this browser. Try WAV, FLAC, MP3 or Ogg.");
  }
}

/**
 * Returns the exact channels of a 16-bit WAV file that needs no resampling, or null for any other
 * file. Browsers differ in the last bit (Chromium divides positive samples by 32767).
 */
function channelsOfWav(bytes, rate) {
  const view = new DataView(bytes);
  const tag = (at) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  if (bytes.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  let count;
  for (let at = 12; at + 8 <= bytes.byteLength; ) {
    const [start, size] = [at + 8, view.getUint32(at + 4, true)];
    if (tag(at) === "fmt " && size >= 16 && start + 16 <= bytes.byteLength) {
      const [format, bits] = [view.getUint16(start, true), view.getUint16(start + 14, true)];
      if (format !== 1 || bits !== 16 || view.getUint32(start + 4, true) !== rate) return null;
      count = view.getUint16(start + 2, true);
    } else if (tag(at) === "data") {
      if (!count) return null;
      const frames = Math.floor(Math.min(size, bytes.byteLength - start) / (2 * count));
      return Array.from({ length: count }, (_, channel) =>
        Float32Array.from({ length: frames }, (_, i) => view.getInt16(start + 2 * (i * count + channel), true) / 32768),
      );
    }
    at = start + size + (size % 2);
  }
  return null;
}

/** Resamples a waveform with the browser's resampler. */
export async function resample(waveform, from, to) {
  if (from === to) return waveform;
  const context = new OfflineAudioContext(1, Math.ceil((waveform.length * to) / from), to);
  const buffer = new AudioBuffer({ length: waveform.length, sampleRate: from });
  buffer.copyToChannel(waveform, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

async function get(url) {
  const response = await fetch(url).catch(() => null);
  if (response?.ok) return response;
  const status = response ? `status ${response.status}` : "no answer";
  throw new VoxmoodError(`is missing: ${url} (${status}). Build the page: npm ci && npm run build`);
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function seconds(value) {
  return `${value.toFixed(value < 1 ? 4 : 1)} s`;
}
