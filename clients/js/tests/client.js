// The packed client: PACKAGE is the folder of what `npm pack` packs, ENTRY one of its exports.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.env.PACKAGE ?? new URL("..", import.meta.url).pathname;
const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/** The file that programs load. */
export const file = join(folder, exports[process.env.ENTRY ?? "."].default);

export const { connect } = await import(pathToFileURL(file).href);
