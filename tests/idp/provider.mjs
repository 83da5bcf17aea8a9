// An OpenID Connect provider (oidc-provider) as a company has one: people that log in, clients, resources, keys.
//
//     node provider.mjs PLACE
//
// PLACE/provider.json says what there is; at SIGHUP it is read again, with keys, while tokens and clients go on.
// It listens on loopback over TLS, and prints its URL. There are no passwords: whom the log-in form names is who it is.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

// The provider says there what a deployment should set; the URL stands alone on standard output.
console.info = console.log = console.warn = console.error;
const { default: Provider, errors } = await import('oidc-provider');

const place = process.argv[2];
const file = (name) => readFileSync(join(place, name));

function features(said) {
  return {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: {
      enabled: true,
      // Only the gateway asks about tokens.
      allowedPolicy: (ctx, client) => client.clientId === said.asks,
    },
    revocation: { enabled: true },
    registration: { enabled: true },
    dPoP: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      getCertificate: ({ socket }) => (socket.authorized ? new X509Certificate(socket.getPeerCertificate().raw) : undefined),
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        const { hostname, pathname } = new URL(resource);
        if (hostname !== '127.0.0.1' || !(pathname in said.resources)) throw new errors.InvalidTarget();
        return { accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } }, ...said.resources[pathname] };
      },
    },
  };
}

function configuration(said) {
  return {
    clients: said.clients,
    jwks: { keys: said.keys },
    scopes: ['openid', 'offline_access', ...said.scopes],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { dPoPSigningAlgValues: ['ES256'] },
    cookies: { keys: ['signs cookies in tests'] },
    findAccount: (ctx, accountId) => accountId in said.users && { accountId, claims: () => ({ sub: accountId }) },
    extraTokenClaims: (ctx, token) => said.users[token.accountId] ?? said.workloads[token.clientId],
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    features: features(said),
  };
}

// Somebody says who they are, and agrees to all that the client asks for.
async function agree(provider, request, response) {
  const { grantId, session, params } = await provider.interactionDetails(request, response);
  const accountId = session?.accountId ?? new URLSearchParams(await text(request)).get('login');
  const known = grantId && (await provider.Grant.find(grantId));
  const grant = known || new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? '');
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, params.scope ?? '');
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(request, response, { login: { accountId }, consent });
}

let provider, serve;
function renew(issuer) {
  provider = new Provider(issuer, configuration(JSON.parse(file('provider.json'))));
  provider.on('server_error', (ctx, problem) => console.error(problem));
  serve = provider.callback();
}

const server = createServer(
  { key: file('key.pem'), cert: file('cert.pem'), ca: file('clients.pem'), requestCert: true, rejectUnauthorized: false },
  (request, response) => {
    if (request.method !== 'POST' || !request.url.startsWith('/interaction/')) return serve(request, response);
    return agree(provider, request, response).catch((problem) => {
      console.error(problem);
      response.writeHead(500).end();
    });
  },
);
server.listen(0, '127.0.0.1', () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  renew(issuer);
  process.on('SIGHUP', () => renew(issuer));
  process.stdout.write(`URL ${issuer}\n`);
});
