// Builds dist-js/ (what npm gets) and guest-js/api-iife.js (what the Rust crate puts into pages). The same sources give the same
// bytes: no name has a hash, and nothing here reads a clock.
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../dist-js");

const common = { configFile: false, logLevel: "warn", root: here, define: {} };

rmSync(out, { recursive: true, force: true });

for (const [format, extension] of [["es", "js"], ["cjs", "cjs"]]) {
  await build({
    ...common,
    build: {
      outDir: out,
      emptyOutDir: false,
      target: "es2022",
      // People read what they bundle, and their own bundler minifies.
      minify: false,
      lib: { entry: ["index", "widget", "yjs"].map((name) => join(here, `${name}.ts`)), formats: [format] },
      rolldownOptions: {
        external: [/^@tauri-apps\/api/, "yjs", /^y-protocols/],
        output: {
          entryFileNames: `[name].${extension}`,
          // One copy of the façade for all three: the page has one connection for events.
          chunkFileNames: `shared/[name].${extension}`,
        },
      },
    },
  });
}

// TypeScript 7 is a program without an API.
const compiler = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
execFileSync(process.execPath, [compiler, "--project", join(here, "tsconfig.build.json")], { stdio: "inherit" });
// Whoever calls require() needs declarations of that kind: TypeScript takes the others for a module that only import can load.
for (const name of readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".d.ts"))) {
  const text = readFileSync(join(out, name), "utf8").replaceAll(/(from "\.[^"]*|import\("\.[^"]*)\.js"/g, '$1.cjs"');
  writeFileSync(join(out, name.replace(/\.d\.ts$/, ".d.cts")), text);
}

await build({
  ...common,
  build: {
    outDir: out,
    emptyOutDir: false,
    target: "es2022",
    minify: true,
    lib: { entry: join(here, "iife.ts"), formats: ["iife"], name: "__KSYNC__", fileName: () => "api-iife.js" },
  },
});
// In one function, so that it leaves nothing behind in pages that do not want it.
const iife = readFileSync(join(out, "api-iife.js"), "utf8").trim();
rmSync(join(out, "api-iife.js"));
writeFileSync(join(here, "api-iife.js"), `${iife}\n`);

for (const name of ["index.js", "widget.js", "yjs.js"]) {
  const bytes = readFileSync(join(out, name));
  console.log(`dist-js/${name}: ${bytes.length} bytes, ${gzipSync(bytes).length} gzipped`);
}
console.log(`guest-js/api-iife.js: ${iife.length + 1} bytes`);
