// What the stories have in common: a Chromium in which every name under .test is this machine, and pages to visit.

import { createServer } from "node:http";
import { chromium } from "playwright-core";

/** Ends the program, whatever goes wrong and however long it takes. */
export function fail(why) {
  console.error(why);
  process.exit(1);
}

setTimeout(() => fail("the story takes too long"), 60_000).unref();

export function launch() {
  return chromium.launch({
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
      "--ignore-certificate-errors",
      "--host-resolver-rules=MAP *.test 127.0.0.1",
    ],
  });
}

/** Serves empty pages under every name of this machine; returns the port, as text. */
export async function servePages() {
  const pages = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>A page</title>");
  });
  await new Promise((listening) => pages.listen(0, "127.0.0.1", listening));
  pages.unref();
  return String(pages.address().port);
}
