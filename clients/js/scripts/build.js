// Builds dist: one file as it is, one minified, and the types.

import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { minify } from "terser";

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
// Properties that no other program sees, none of which browsers have too.
const mangleProps =
  /^(adopt|connected|cursor|lastSign|lost|named|outcome|probing|renewing|repeats|resumed|retry|sent|signs|stable|take|taken|unusable|verdict|watched)$/;
const { outputFiles } = await build({ ...options, minify: true, mangleProps, write: false });
const { code } = await minify(outputFiles[0].text, { ecma: 2020, module: true, compress: { passes: 3 } });
writeFileSync("dist/index.min.js", code);
// npm packs it from here.
cpSync("../../LICENSE", "LICENSE");
