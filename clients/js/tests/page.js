// Pages in Chromium, of another origin than the gateway. CHROMIUM is the browser's binary.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

import { file } from "./client.js";
import { until } from "./until.js";

/** Starts a browser, and a server of pages that load the client. */
export async function startBrowser() {
  const pages = createServer((request, response) => {
    const isScript = request.url === "/client.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? readFileSync(file) : "<!doctype html><title>A page</title>");
  });
  await new Promise((listening) => pages.listen(0, "127.0.0.1", listening));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  return {
    origin: `http://127.0.0.1:${pages.address().port}`,
    newContext: () => browser.newContext(),
    async stop() {
      await browser.close();
      pages.close();
    },
  };
}

/** In the page: opens a connection as `window.rig`, and records what happens in `window.seen`. */
async function connectInPage({ url, jwt, later, transport, subscriptions, options }) {
  const { connect } = await import("/client.js");
  window.seen = [];
  window.errors = [];
  let calls = 0;
  window.rig = connect({
    url,
    token: later ? () => (calls++ ? later : jwt) : jwt,
    transport,
    subscriptions: subscriptions ?? [{ eventType: "greeting" }],
    heartbeat: 1000,
    timeout: 3000,
    backoff: { first: 50, longest: 500 },
    onError: (error) => window.errors.push(String(error)),
    ...options,
  });
  window.rig.on("*", ({ id }) => window.seen.push(id));
  window.rig.onGap(({ reason }) => window.seen.push(`gap ${reason}`));
  window.rig.onResumed(({ events }) => window.seen.push(`resumed ${events}`));
  window.rig.onState(({ name }) => window.seen.push(name));
}

/** Connects in a page. */
export async function connectIn(page, options) {
  await page.evaluate(connectInPage, options);
  const seen = () => page.evaluate(() => window.seen);
  const state = () => page.evaluate(() => window.rig.state);
  const reaches = (name) => until(async () => (await state()).name === name && state(), `state ${name}`).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await state())}, ${await seen()}`);
  });
  return { page, seen, state, reaches };
}
