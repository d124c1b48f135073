// An OpenID provider for trying the gateway and for its tests, and the server of the page beside it:
// oidc-provider with a login page that lets everyone in. Never use it for anything else.
//
//   ISSUER_PORT  the provider's port of 127.0.0.1 (4500)
//   PAGES_PORT   the port of the page (8081)
//   GATEWAY      where the page connects, and where logouts are sent (http://localhost:4000)
//   KEYS         files of private keys (JWK), separated by commas; a file that is missing is created.
//                The first key signs. Without this variable, each start has a new key.
//   OPAQUE       if it is set, access tokens are no JWTs: the gateway has to ask about them, at
//                /token/introspection, as the client `asker` with the secret `secret`
//
// It writes a line for each request that it sends, such as
// `POST http://localhost:4000/_rig/v1/issuers/oidc/logout: 200 in 12 ms`.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const { ISSUER_PORT = "4500", PAGES_PORT = "8081", GATEWAY = "http://localhost:4000" } = process.env;
const { KEYS = "", OPAQUE = "" } = process.env;
const issuer = `http://127.0.0.1:${ISSUER_PORT}`;
const pages = `http://localhost:${PAGES_PORT}`;
/** The audience of access tokens: what `OIDC_AUDIENCE` of the gateway has to be. */
const AUDIENCE = "events";
const RESOURCE = "urn:rig:events";
const MAX_FORM = 4096;

function newKey() {
  return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
}

/** Returns the key of a file, whose `kid` is the thumbprint of the key unless the file names another. */
function keyOf(file) {
  if (!existsSync(file)) writeFileSync(file, JSON.stringify(newKey()), { mode: 0o600 });
  return JSON.parse(readFileSync(file, "utf8"));
}

/** Sends a request, and says how it went. The options that refuse loopback addresses are left out. */
async function send(url, { dispatcher, agent, ...options }) {
  const begin = performance.now();
  const outcome = (text) =>
    console.log(`${options.method} ${url}: ${text} in ${Math.round(performance.now() - begin)} ms`);
  try {
    const answer = await fetch(url, options);
    outcome(answer.status);
    return answer;
  } catch (error) {
    outcome(error.cause?.code ?? error.name);
    throw error;
  }
}

/** Returns a page of the provider. `body` is trusted. */
function html(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title>
<link rel="icon" href="data:,"><h1>${title}</h1>${body}</html>`;
}

function client(id, hasSid) {
  return {
    client_id: id,
    token_endpoint_auth_method: "none",
    redirect_uris: [`${pages}/`],
    post_logout_redirect_uris: [`${pages}/`],
    backchannel_logout_uri: `${GATEWAY}/_rig/v1/issuers/oidc/logout`,
    backchannel_logout_session_required: hasSid,
  };
}

/** The client that may ask about the tokens of others; it has none of its own. */
const asker = { client_id: "asker", client_secret: "secret", grant_types: [], response_types: [], redirect_uris: [] };

const provider = new Provider(issuer, {
  // With a `sid` in its tokens, and without one.
  clients: [client("gateway", true), client("gateway-without-sid", false), asker],
  jwks: { keys: KEYS ? KEYS.split(",").map(keyOf) : [newKey()] },
  cookies: { keys: [randomBytes(32).toString("hex")] },
  fetch: send,
  clientBasedCORS: (_, origin) => origin === pages,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (_, token) => (token.sid ? { sid: token.sid } : undefined),
  ttl: { AccessToken: 3600, Session: 86400, Grant: 86400, Interaction: 600, IdToken: 3600 },
  interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
  // Nothing is asked of the user but a name.
  async loadExistingGrant({ oidc }) {
    const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    // Access tokens for a resource are JWTs, or opaque.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "",
        audience: AUDIENCE,
        accessTokenFormat: OPAQUE ? "opaque" : "jwt",
      }),
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource(ctx, form) {
        const button = `<button form="op.logoutForm" name="logout" value="yes" autofocus>Log out</button>`;
        ctx.body = html("Log out of the provider?", form + button);
      },
      postLogoutSuccessSource(ctx) {
        ctx.body = html("You are logged out", "");
      },
    },
  },
});

/** Returns the fields of a form; rejects one that is too long. */
async function form(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_FORM) throw new Error("the form is too long");
  }
  return new URLSearchParams(text);
}

/** Lets everyone in under the name of the form. */
async function login(request, response) {
  const name = request.method === "POST" ? ((await form(request)).get("name") ?? "") : "";
  if (name) {
    await provider.interactionFinished(request, response, { login: { accountId: name } });
    return;
  }
  await provider.interactionDetails(request, response);
  const fields = `<form method="post"><label>Name <input name="name" value="alice" required autofocus></label>
<button>Log in</button></form>`;
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(html("Log in to the provider", fields));
}

const answer = provider.callback();
const server = createServer((request, response) => {
  if (!request.url.startsWith("/login/")) return void answer(request, response);
  login(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(`${error.message}\n`);
  });
});

const files = {
  "/": ["text/html; charset=utf-8", readFileSync(new URL("index.html", import.meta.url))],
  "/config.json": ["application/json", JSON.stringify({ issuer, gateway: GATEWAY, client: "gateway" })],
};
const pageServer = createServer((request, response) => {
  const file = files[new URL(request.url, pages).pathname];
  response.statusCode = file ? 200 : 404;
  response.setHeader("content-type", file?.[0] ?? "text/plain");
  response.end(file?.[1]);
});

function listen(server, port) {
  return new Promise((listening, failed) => server.once("error", failed).listen(port, "127.0.0.1", listening));
}

await listen(server, ISSUER_PORT);
await listen(pageServer, PAGES_PORT);
console.log(`The provider is ${issuer}, the page ${pages}/. Ctrl-C stops both.`);
