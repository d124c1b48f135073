// An issuer whose tokens refer to status lists, on a free port, which it prints. The lists are built and read back by
// @sd-jwt/jwt-status-list; each answer is signed anew.
//
// GET /token?list=N&idx=I mints an access token; without `list`, it has no status. GET /set?list=N&idx=I&value=V
// changes a status. GET /lists/NAME answers a list, or what is none; GET /fetches says how often each was asked for.
import { createServer } from 'node:http'
import { generateKeyPairSync, sign } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { StatusList, createHeaderAndPayload, getListFromStatusListJWT } = require('@sd-jwt/jwt-status-list')

const TTL = 10
const MIB = 1 << 20
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const [ours, others] = [pair(), pair()]
const jwk = { ...ours.publicKey.export({ format: 'jwk' }), kid: 'a', use: 'sig', alg: 'ES256' }
const seconds = (from) => Math.floor(Date.now() / 1000) + from

function signed(header, payload, key = ours) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const message = `${encode({ alg: 'ES256', kid: 'a', ...header })}.${encode(payload)}`
  const signature = sign('sha256', Buffer.from(message), { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
  return `${message}.${signature.toString('base64url')}`
}

// The lists by name: statuses of two bits in `2`, of one bit in the others.
const lists = {}
const statuses = (name) => (lists[name] ??= new Array(1000).fill(0))
const bits = (name) => (name === '2' ? 2 : 1)

function statusList(uri, name, more = {}) {
  const list = new StatusList(statuses(name), bits(name))
  const { header, payload } = createHeaderAndPayload(list, { iss: issuer, sub: uri, iat: seconds(0), ttl: TTL, ...more }, {})
  return { header, payload }
}

// What else is answered under a name.
const odd = {
  expired: (list) => ({ ...list, payload: { ...list.payload, exp: seconds(-1) } }),
  future: (list) => ({ ...list, payload: { ...list.payload, iat: seconds(60) } }),
  subject: (list) => ({ ...list, payload: { ...list.payload, sub: `${issuer}/lists/1` } }),
  type: (list) => ({ ...list, header: { typ: 'JWT' } }),
  forged: (list) => ({ ...list, key: others }),
  bomb: (list) => ({
    ...list,
    payload: { ...list.payload, status_list: { bits: 1, lst: deflateSync(Buffer.alloc(64 * MIB)).toString('base64url') } },
  }),
  large: (list) => ({ ...list, payload: { ...list.payload, more: 'x'.repeat(8 * MIB) } }),
  cwt: (list) => ({ ...list, contentType: 'application/statuslist+cwt' }),
  moved: (list) => ({ ...list, status: 302 }),
  missing: (list) => ({ ...list, status: 404 }),
}

const fetches = {}
let issuer

function answer(url) {
  const query = Object.fromEntries(url.searchParams)
  const name = url.pathname.split('/')[2]
  switch (url.pathname.split('/')[1]) {
    case '.well-known':
      return { text: JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` }) }
    case 'keys':
      return { text: JSON.stringify({ keys: [jwk] }) }
    case 'token': {
      const status = query.list && { status_list: { idx: Number(query.idx), uri: query.uri ?? `${issuer}/lists/${query.list}` } }
      const claims = { iss: issuer, aud: 'gateway', sub: 'alice', sid: query.sid, iat: seconds(0), exp: seconds(3600), status }
      return { text: signed({}, claims) }
    }
    case 'set': {
      if (query.value === 'gone') delete odd[query.list]
      else if (query.value in odd) odd[query.list] = odd[query.value]
      else statuses(query.list)[query.idx] = Number(query.value)
      return { text: '' }
    }
    case 'fetches':
      return { text: JSON.stringify(fetches) }
    case 'lists': {
      fetches[name] = (fetches[name] ?? 0) + 1
      const list = (odd[name] ?? ((list) => list))(statusList(`${issuer}${url.pathname}`, name))
      const text = signed(list.header, list.payload, list.key)
      if (!(name in odd)) {
        // The library reads what the gateway reads.
        const read = getListFromStatusListJWT(text)
        statuses(name).forEach((status, index) => {
          if (read.getStatus(index) !== status) throw new Error(`index ${index} of ${name}`)
        })
      }
      return { text, status: list.status, contentType: list.contentType ?? 'application/statuslist+jwt' }
    }
    default:
      return { text: '', status: 404 }
  }
}

const server = createServer((request, response) => {
  const { text, status = 200, contentType = 'application/json' } = answer(new URL(request.url, issuer))
  response.writeHead(status, { 'content-type': contentType, location: `${issuer}/lists/1` }).end(text)
})
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`
  console.log(server.address().port)
})
