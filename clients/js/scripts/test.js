// Tests what `npm pack` packs, not the sources: both builds, the types, and in Chromium.
// Arguments are passed to the test runner, such as --test-name-pattern=killed.

import { execFileSync, spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "rig-client-"));
let status = 0;
try {
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { stdio: ["ignore", "ignore", "inherit"] });
  const [archive] = readdirSync(folder);
  execFileSync("tar", ["-xzf", archive], { cwd: folder });
  const packed = join(folder, "package");
  const tests = readdirSync("tests").filter((name) => name.endsWith(".test.js"));
  for (const entry of [".", "./min"]) {
    // Chromium loads the smaller file only.
    const chosen = tests.filter((name) => entry === "./min" || name !== "browser.test.js");
    console.log(`# ${entry}: ${chosen.join(", ")}`);
    const result = spawnSync(
      process.execPath,
      ["--test", "--test-reporter=spec", ...process.argv.slice(2), ...chosen.map((name) => join("tests", name))],
      {
        stdio: "inherit",
        env: { ...process.env, PACKAGE: packed, ENTRY: entry, NODE_OPTIONS: "--experimental-websocket --expose-gc" },
      },
    );
    status ||= result.status ?? 1;
  }
  console.log("# types");
  const types = spawnSync("node_modules/.bin/tsc", ["--project", "tests/tsconfig.json", "--paths", "null"], { stdio: "inherit" });
  status ||= types.status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status);
