// Tests what `npm pack` packs, not the sources: both builds, the types, and in Chromium.
// Arguments are passed to the test runner, such as --test-name-pattern=killed.
// RIG is the gateway's binary, CHROMIUM the browser's.

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "rig-client-"));
const packed = join(folder, "node_modules/@reactive-interaction-gateway/client");
let status = 0;
const run = (command, args, options) => {
  const result = spawnSync(command, args, { stdio: "inherit", ...options });
  status ||= result.status ?? 1;
};
try {
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { stdio: ["ignore", "ignore", "inherit"] });
  const [archive] = readdirSync(folder);
  execFileSync("tar", ["-xzf", archive], { cwd: folder });
  mkdirSync(join(packed, ".."), { recursive: true });
  renameSync(join(folder, "package"), packed);

  console.log("# types");
  for (const name of ["types.ts", "tsconfig.json"]) cpSync(join("tests", name), join(folder, name));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  run("node_modules/.bin/tsc", ["--project", folder]);

  const tests = readdirSync("tests").filter((name) => name.endsWith(".test.js"));
  for (const entry of [".", "./min"]) {
    // What needs a gateway or a browser is tested with the smaller file only, whose names are
    // shortened.
    const chosen = tests.filter((name) => entry === "./min" || !/^(browser|gateway)/.test(name));
    console.log(`# ${entry}: ${chosen.join(", ")}`);
    run(process.execPath, ["--test", ...process.argv.slice(2), ...chosen.map((name) => join("tests", name))], {
      env: { ...process.env, PACKAGE: packed, ENTRY: entry, NODE_OPTIONS: "--experimental-websocket --expose-gc" },
    });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status);
