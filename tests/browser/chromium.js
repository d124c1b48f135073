// Shared by the stories: a Chromium that resolves every name under .test to this machine, and pages to visit.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** Ends the program, whatever goes wrong and however long it takes. */
export function fail(why) {
  console.error(why);
  process.exit(1);
}

setTimeout(() => fail("the story takes too long"), 60_000).unref();

/** How Chromium is started: with nothing that asks for other machines. */
export const options = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};

// A browser that blocks all cookies of other sites has none for a gateway of another site.
const preferences = { profile: { block_third_party_cookies: false, cookie_controls_mode: 0 } };

/** Runs a story in a browser with a profile of its own, which sends cookies to other sites. */
export async function visit(story) {
  const profile = await mkdtemp(join(tmpdir(), "rig-browser-"));
  await mkdir(join(profile, "Default"));
  await writeFile(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  const browser = await chromium.launchPersistentContext(profile, {
    ...options,
    ignoreHTTPSErrors: true,
    args: [...options.args, "--host-resolver-rules=MAP *.test 127.0.0.1"],
  });
  try {
    await story(browser);
  } catch (error) {
    fail(error.stack);
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** Serves empty pages under every name of this machine, on a free port if none is given; returns the port, as text. */
export async function servePages(port = 0) {
  const pages = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>A page</title>");
  });
  await new Promise((listening) => pages.listen(port, "127.0.0.1", listening));
  pages.unref();
  return String(pages.address().port);
}
