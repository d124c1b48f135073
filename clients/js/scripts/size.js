// Checks the size of the client as pages load it: minified, and compressed by gzip.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** The budget, in bytes. */
const MAX = 5 * 1024;

const minified = readFileSync("dist/index.min.js");
const compressed = gzipSync(minified, { level: 9 }).length;
console.log(`dist/index.min.js: ${minified.length} B, ${compressed} B with gzip, budget ${MAX} B`);
process.exit(compressed <= MAX ? 0 : 1);
