// Copy everything that the page needs into dist/: node build.js [BUNDLE]
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const bundle = process.argv[2] ?? here("../../../models/voxmood-small/bundle");
const dist = here("dist");

if (!existsSync(`${bundle}/bundle.json`)) {
  console.error(`${bundle}: bundle.json is missing; name the folder of a bundle.`);
  process.exit(1);
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(`${dist}/ort`, { recursive: true });
for (const file of ["index.html", "style.css", "page.js", "voxmood.js", "recorder.js"]) {
  cpSync(here(file), `${dist}/${file}`);
}
for (const file of ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]) {
  cpSync(here(`node_modules/onnxruntime-web/dist/${file}`), `${dist}/ort/${file}`);
}
cpSync(here("../hello.wav"), `${dist}/hello.wav`);
cpSync(bundle, `${dist}/bundle`, { recursive: true });
