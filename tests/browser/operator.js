// The browser of an operator with a page of another origin open, and the internal port without a token.
//
//   node operator.js INTERNAL_PORT
//
// Each step is a line on standard output: what the browser received, or that it could read nothing.

import { servePages, visit } from "./chromium.js";

const internal = `http://127.0.0.1:${process.argv[2]}`;
const port = await servePages();

/** Returns the status of the answer to a request, or that the browser has lost it. */
const outcome = (page, url) =>
  Promise.race([
    page.waitForResponse((response) => response.url() === url).then((response) => response.status()),
    page.waitForEvent("requestfailed", (request) => request.url() === url).then(() => "lost"),
  ]);

/** Opens a page of this origin, has it navigate elsewhere, and returns the status of what answers there. */
async function leave(browser, from, to, navigate, argument) {
  const page = await browser.newPage();
  await page.goto(from);
  const answered = outcome(page, to);
  // Its result may be lost with the page that it leaves.
  page.evaluate(navigate, argument).catch(() => undefined);
  const status = await answered;
  // Not awaited: Chromium may not report that it has closed a page that is navigating.
  page.close().catch(() => undefined);
  return status;
}

/** In the page: submits a form, as pages do without asking anybody. */
const submit = ([action, enctype, fields]) => {
  const form = Object.assign(document.createElement("form"), { action, enctype, method: "post" });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
};

/** In the page: follows a link. */
const follow = (url) => location.assign(url);

/** In the page: the statuses that a script sees of the internal port, or why it sees none. */
async function ask([url, options]) {
  try {
    const answer = await fetch(url, options);
    return `${answer.type} ${answer.status}`;
  } catch {
    return "nothing";
  }
}

await visit(async (browser) => {
  const page = await browser.newPage();
  const forms = {
    "evil.test": "application/x-www-form-urlencoded",
    localhost: "multipart/form-data",
    "127.0.0.1": "text/plain",
  };
  for (const [host, enctype] of Object.entries(forms)) {
    const origin = `http://${host}:${port}/`;
    const fields = { sessionId: "victim", validityInSeconds: "60" };
    const action = `${internal}/v3/session-blacklist`;
    const status = await leave(browser, origin, action, submit, [action, enctype, fields]);
    console.log(`${host}: form ${enctype} ${status}`);
    await page.goto(origin);
    const body = JSON.stringify({ sessionId: "victim", validityInSeconds: 60 });
    const simple = { method: "POST", mode: "no-cors", body };
    // The page cannot see the outcome; the gateway can.
    const sent = outcome(page, `${internal}/v3/session-blacklist`);
    await page.evaluate(ask, [`${internal}/v3/session-blacklist`, simple]);
    console.log(`${host}: text ${await sent}`);
    console.log(`${host}: read ${await page.evaluate(ask, [`${internal}/v4/sessions`, {}])}`);
  }

  // A link in a wiki leads to the Swagger UI, which then works.
  const wiki = `http://evil.test:${port}/`;
  await page.goto(wiki);
  const opened = page.waitForResponse((response) => response.url() === `${internal}/swagger-ui/`);
  page.evaluate(follow, `${internal}/swagger-ui`).catch(() => undefined);
  console.log(`link: swagger-ui ${(await opened).status()}`);
  await page.waitForSelector(".opblock");
  console.log(`page: operations shown`);
  const own = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sessionId: "own", validityInSeconds: 60 }),
  };
  console.log(`page: json ${await page.evaluate(ask, [`${internal}/v3/session-blacklist`, own])}`);
  console.log(`page: read ${await page.evaluate(ask, [`${internal}/v4/sessions`, {}])}`);
  const form = { method: "POST", body: "sessionId=form&validityInSeconds=60" };
  form.headers = { "content-type": "application/x-www-form-urlencoded" };
  console.log(`page: form ${await page.evaluate(ask, [`${internal}/v3/session-blacklist`, form])}`);

  // Other links and frames are refused.
  for (const path of ["/v4/sessions", "/metrics"]) {
    console.log(`link: ${path} ${await leave(browser, wiki, internal + path, follow, internal + path)}`);
  }
  await page.goto(wiki);
  const framed = page.waitForResponse((response) => response.url().includes("/swagger-ui"));
  await page.evaluate((src) => {
    document.body.append(Object.assign(document.createElement("iframe"), { src }));
  }, `${internal}/swagger-ui/`);
  console.log(`frame: swagger-ui ${(await framed).status()}`);

  // A URL typed into the address bar.
  console.log(`typed: /v4/sessions ${(await page.goto(`${internal}/v4/sessions`)).status()}`);

  // A page whose name has been rebound to this machine has the same origin as the port.
  const rebound = await page.goto(`http://rebound.test:${process.argv[2]}/v4/sessions`);
  console.log(`rebound: ${rebound.status()}`);
});
