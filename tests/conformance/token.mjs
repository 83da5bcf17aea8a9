// Loaded into the suite before it runs (node --import): each of its requests brings the token it is given, as those of
// a client do that has logged in. The suite itself has no way to be given one.

import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { Agent, setGlobalDispatcher } from 'undici';

const brought = { authorization: `Bearer ${process.env.TIDEGATE_TEST_TOKEN}` };

// What is asked by `fetch`, Node.js's own, goes through this as well as what is asked by undici.
setGlobalDispatcher(
  new Agent().compose((dispatch) => ({ headers, ...options }, answered) => {
    const listed = Array.isArray(headers) ? headers : Object.entries(headers ?? {}).flat();
    return dispatch({ ...options, headers: [...listed, ...Object.entries(brought).flat()] }, answered);
  }),
);

const { request } = http;
http.request = (options, ...rest) => request({ ...options, headers: { ...options.headers, ...brought } }, ...rest);
syncBuiltinESMExports();
