// Builds dist: one file as it is, one minified, and the types.

import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
execFileSync("node_modules/.bin/tsc", { stdio: "inherit" });
// Types of inner modules are not part of the package.
for (const name of readdirSync("dist")) if (!["index.d.ts", "types.d.ts"].includes(name)) rmSync(`dist/${name}`);
const options = {
  entryPoints: ["src/index.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
};
await build({ ...options, outfile: "dist/index.js" });
// Properties that no other program sees: those of attempts and of their outcomes.
const mangleProps = /^(connected|cursor|lastSign|named|outcome|probing|renewing|repeats|sent|signs|stable|unusable|verdict|watched)$/;
await build({ ...options, outfile: "dist/index.min.js", minify: true, mangleProps });
cpSync("../../LICENSE", "dist/LICENSE");
