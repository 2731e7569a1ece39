// A cargo registry and an npm registry for `cargo xtask tauri-add`. They hold in memory what is published to them, and send cargo and npm on to crates.io and
// registry.npmjs.org for everything else, so an app can be made of packages that nobody has published yet just as it will be of those that are.
//
// usage: node registries.mjs   It prints the two addresses as one line of JSON, and ends when its standard input does.

import { createHash } from "node:crypto";
import { createServer } from "node:http";

/** What the two registries have in common: one answer for each path, or another place to ask. */
async function serve(answer, elsewhere) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const path = decodeURIComponent(request.url.split("?")[0]);
    const found = answer(path, Buffer.concat(chunks), `http://${request.headers.host}`);
    if (found === undefined) return response.writeHead(302, { location: elsewhere(path, request.url) }).end();
    response.end(Buffer.isBuffer(found) ? found : JSON.stringify(found));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${server.address().port}`;
}

/** The sparse protocol and the publish call: https://doc.rust-lang.org/cargo/reference/registry-index.html, registry-web-api.html */
function cargo() {
  const published = new Map();
  const download = (path) => path.match(/^\/crates\/([^/]+)\/([^/]+)\/download$/);

  /** A length, metadata, a length, the packed crate. */
  function publish(body) {
    const end = 4 + body.readUInt32LE(0);
    const crate = body.subarray(end + 4, end + 4 + body.readUInt32LE(end));
    const { name, vers, deps, features, links, rust_version } = JSON.parse(body.subarray(4, end).toString());
    // The index names a few things otherwise than the call.
    const dependencies = deps.map(({ name, version_req, explicit_name_in_toml, ...rest }) => {
      const packageName = explicit_name_in_toml ? name : null;
      return { ...rest, name: explicit_name_in_toml ?? name, package: packageName, req: version_req, registry: null };
    });
    const cksum = createHash("sha256").update(crate).digest("hex");
    const line = { name, vers, deps: dependencies, cksum, features, yanked: false, links, rust_version, v: 2 };
    published.set(name, { line, crate });
    return { warnings: { invalid_categories: [], invalid_badges: [], other: [] } };
  }

  return serve(
    (path, body, address) => {
      if (path === "/api/v1/crates/new") return publish(body);
      if (path === "/config.json") return { dl: `${address}/crates`, api: address };
      const [, name] = download(path) ?? [];
      return name ? published.get(name)?.crate : published.get(path.split("/").at(-1))?.line;
    },
    (path, raw) => {
      const [, name, version] = download(path) ?? [];
      return name ? `https://static.crates.io/crates/${name}/${version}/download` : `https://index.crates.io${raw}`;
    },
  );
}

/** https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md, as far as `npm publish` and `npm install` ask */
function npm() {
  const published = new Map();

  function publish({ _attachments, ...described }) {
    const [tarball] = Object.values(_attachments);
    published.set(described.name, { described, tarball: Buffer.from(tarball.data, "base64") });
    return { ok: true };
  }

  return serve(
    (path, body) => {
      if (body.length > 0 && !path.startsWith("/-/")) return publish(JSON.parse(body));
      const [name, tarball] = path.slice(1).split("/-/");
      return published.get(name)?.[tarball ? "tarball" : "described"];
    },
    (_, raw) => `https://registry.npmjs.org${raw}`,
  );
}

console.log(JSON.stringify({ cargo: await cargo(), npm: await npm() }));
process.stdin.on("end", () => process.exit()).resume();
