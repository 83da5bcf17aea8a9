// The TypeScript SDK's second line, held to the stateless revision.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { main } from "./steps.mjs";

await main(async (url) => {
  const versionNegotiation = { mode: { pin: "2026-07-28" } };
  const client = new Client({ name: "typescript-modern", version: "1.0.0" }, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(url));
  return {
    list: (cursor) => client.listTools(cursor === undefined ? {} : { cursor }),
    call: (params, options) => client.callTool(params, options),
    revision: () => client.getNegotiatedProtocolVersion(),
    close: () => client.close(),
  };
});
