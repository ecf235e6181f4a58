// Send the audio of the microphone to the page, in chunks of some tens of milliseconds.
const CHUNK = 2048;

class Recorder extends AudioWorkletProcessor {
  #chunk = new Float32Array(CHUNK);
  #filled = 0;

  process([channels]) {
    for (let i = 0; i < (channels[0]?.length ?? 0); i++) {
      this.#chunk[this.#filled++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.#filled === CHUNK) {
        this.port.postMessage(this.#chunk.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
